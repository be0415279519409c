//! Named kinds of something, and a count of each.

macro_rules! tallied {
    (
        $(#[$kind_meta:meta])* $kind:ident,
        $(#[$tally_meta:meta])* $tally:ident by $add:ident,
        $($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*
    ) => {
        $(#[$kind_meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $kind {
            $($(#[doc = $doc])* $variant,)*
        }

        impl $kind {
            /// Every kind.
            pub const ALL: &[$kind] = &[$($kind::$variant,)*];

            /// The name in summaries, cards and schedules.
            pub fn name(self) -> &'static str {
                match self {
                    $($kind::$variant => $name,)*
                }
            }

            /// What it is, in one line.
            pub fn meaning(self) -> &'static str {
                match self {
                    $($kind::$variant => concat!($($doc),*).trim_ascii(),)*
                }
            }
        }

        $(#[$tally_meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $tally([u64; $kind::ALL.len()]);

        impl Default for $tally {
            fn default() -> $tally {
                $tally([0; $kind::ALL.len()])
            }
        }

        impl $tally {
            /// Counts one.
            pub fn $add(&mut self, kind: $kind) {
                self.0[kind as usize] += 1;
            }

            /// How many there were.
            pub fn of(&self, kind: $kind) -> u64 {
                self.0[kind as usize]
            }
        }

        impl std::fmt::Display for $tally {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let counted = $kind::ALL.iter().filter(|&&kind| self.of(kind) > 0);
                let words: Vec<_> =
                    counted.map(|&kind| format!("{} {}", kind.name(), self.of(kind))).collect();
                f.write_str(if words.is_empty() { "none" } else { "" })?;
                f.write_str(&words.join(", "))
            }
        }
    };
}

pub(crate) use tallied;
