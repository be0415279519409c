//! Says in one sentence what is wrong when the simulator is built without its flag. It runs before
//! madsim is compiled, which would fail in words of its own.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_MADSIM").is_none() {
        println!(
            "cargo::error=the simulator is built with `--cfg madsim`, which .cargo/config.toml \
             sets unless RUSTFLAGS is set: unset RUSTFLAGS, or add `--cfg madsim` to it"
        );
    }
}
