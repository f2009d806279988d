//! Compiles libuci, of the sources that `tests/openwrt/tools` brings.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

const TOOLS: &str = "../tests/openwrt/tools/Cargo.toml";

fn main() {
    println!("cargo::rerun-if-changed={TOOLS}");
    println!("cargo::rerun-if-changed=libuci.c");
    let cargo = env::var("CARGO").expect("cargo runs this");
    let said = Command::new(cargo)
        .args([
            "metadata",
            "--quiet",
            "--locked",
            "--format-version",
            "1",
            "--manifest-path",
            TOOLS,
        ])
        .output()
        .expect("cargo metadata");
    let metadata: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages
        .find(|package| package["name"] == "libuci-sys")
        .expect("libuci's sources");
    let manifest = package["manifest_path"].as_str().expect("a path");
    let sources = Path::new(manifest).parent().expect("a folder");

    let out = env::var("OUT_DIR").expect("cargo says where");
    let include = Path::new(&out).join("include");
    fs::create_dir_all(include.join("libubox")).expect("a folder");
    fs::write(include.join("uci_config.h"), "").expect("a header");
    for entry in fs::read_dir(sources.join("libubox"))
        .expect("libubox")
        .flatten()
    {
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "h")
        {
            fs::copy(
                entry.path(),
                include.join("libubox").join(entry.file_name()),
            )
            .expect("a header");
        }
    }
    let uci =
        ["libuci", "file", "util", "delta", "parse", "blob"].map(|name| format!("uci/{name}.c"));
    let ubox = ["blob", "blobmsg", "utils"].map(|name| format!("libubox/{name}.c"));
    cc::Build::new()
        .file("libuci.c")
        .files(uci.iter().chain(&ubox).map(|name| sources.join(name)))
        .include(&include)
        .include(sources.join("uci"))
        .define("_GNU_SOURCE", None)
        .define("UCI_PREFIX", "\"/usr\"")
        .warnings(false)
        .compile("uci");
}
