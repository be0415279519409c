//! Generates messages, clients and servers from the .proto, without protoc.

use std::path::PathBuf;
use std::{env, error, fs};

const PROTO: &str = "understudy/v1/understudy.proto";

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let mut compiler = protox::Compiler::new(["."])?;
    // Comments become documentation.
    compiler.include_source_info(true).include_imports(true).open_file(PROTO)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("understudy.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".understudy.v1")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
