//! Whether a backup is whole, and what is in it: its frame, and every section down to its rows.

use understudy_core::GroupId;
use understudy_core::snapshot::{Decoder, Item, SnapshotError, SnapshotHeader};

use super::container::{Piece, Reader};
use super::{Contents, Header, NotIntact, Section};

/// Takes the bytes of a backup in pieces of any size. Holds a record and a block.
#[derive(Default)]
pub struct Check {
    reader: Reader,
    header: Option<Header>,
    /// The section that is being read.
    open: Option<Decoder>,
    /// Bytes of each section that has begun.
    bytes: Vec<u64>,
    rows: u64,
}

impl Check {
    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), NotIntact> {
        self.reader.push(bytes);
        loop {
            let offset = self.reader.offset();
            let Some(piece) = self.reader.next_piece()? else { return Ok(()) };
            match piece {
                Piece::Header(header) => self.header = Some(header),
                Piece::Section(group, bytes) => {
                    let taken = self.section(group, &bytes);
                    taken.map_err(|reason| NotIntact { offset, reason })?;
                }
                Piece::End => {
                    let ended = self.close().and_then(|()| match self.expected() {
                        None => Ok(()),
                        Some(missing) => {
                            Err(format!("namespace `{}` is missing", missing.namespace))
                        }
                    });
                    ended.map_err(|reason| NotIntact { offset, reason })?;
                }
            }
        }
    }

    /// What the backup says of itself, once that has come.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Rows read so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Says that the file ends here.
    ///
    /// # Errors
    /// When something is missing.
    pub fn finish(self) -> Result<Contents, NotIntact> {
        let offset = self.reader.offset();
        let bytes = self.reader.finish()?;
        let header = self.header.ok_or(NotIntact { offset, reason: "it is empty".to_owned() })?;
        Ok(Contents { header, section_bytes: self.bytes, bytes })
    }

    /// The section that comes next.
    fn expected(&self) -> Option<&Section> {
        self.header.as_ref()?.sections.get(self.bytes.len())
    }

    fn section(&mut self, group: GroupId, bytes: &[u8]) -> Result<(), String> {
        if self.current().is_none_or(|current| current.group != group.0) {
            self.close()?;
            if self.expected().is_none_or(|expected| expected.group != group.0) {
                return Err(format!("a section of group {group} stands where none should"));
            }
            self.open = Some(Decoder::default());
            self.bytes.push(0);
        }
        if let Some(sum) = self.bytes.last_mut() {
            *sum += bytes.len() as u64;
        }
        let Some(mut decoder) = self.open.take() else {
            return Err(format!("a section of group {group} goes on behind its end"));
        };
        decoder.push(bytes);
        while let Some(item) = decoder.next_item().map_err(|error| in_section(group, &error))? {
            match item {
                Item::Header(header) => self.fits(&header)?,
                Item::Actor(..) | Item::Outcome(..) => self.rows += 1,
                // Checked with the others, and not counted beforehand.
                Item::Change(_) => {}
            }
        }
        self.open = Some(decoder);
        Ok(())
    }

    /// The section that was begun last.
    fn current(&self) -> Option<&Section> {
        self.header.as_ref()?.sections.get(self.bytes.len().checked_sub(1)?)
    }

    /// Whether a section is the one that the header speaks of.
    fn fits(&self, found: &SnapshotHeader) -> Result<(), String> {
        let (origin, meta) = (&found.origin, &found.meta);
        let fits = self.header.as_ref().zip(self.current()).is_some_and(|(header, section)| {
            origin.cluster.0 == header.cluster
                && origin.group.0 == section.group
                && origin.namespace.as_str() == section.namespace
                && meta.applied.map_or(0, |applied| applied.index + 1) == section.applied
                && (meta.actors, meta.outcomes) == (section.actors, section.outcomes)
        });
        if fits { Ok(()) } else { Err("a section is not the one its header speaks of".to_owned()) }
    }

    fn close(&mut self) -> Result<(), String> {
        let group = self.current().map_or(GroupId(0), |current| GroupId(current.group));
        match self.open.take() {
            None => Ok(()),
            Some(decoder) => decoder.finish().map(drop).map_err(|error| in_section(group, &error)),
        }
    }
}

fn in_section(group: GroupId, error: &SnapshotError) -> String {
    format!("the section of group {group} is damaged: {error}")
}

#[cfg(test)]
mod tests;
