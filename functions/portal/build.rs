//! Embeds the page: each file gzipped, all of them under one name that changes with any of them.
//!
//! Modules import each other by relative URLs, so one hash over the whole tree names all of them; no
//! file has to be rewritten but the shell.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// The folder that is embedded. The shell refers to its files by this name. `vendor`, beside it, holds the
/// licences of what comes from others, and digests.
const FOLDER: &str = "app";
const SHELL: &str = "app/index.html";
/// Digits of the tree's hash.
const HASH_LENGTH: usize = 16;

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the folder"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the output"));
    let mut files = Vec::new();
    println!("cargo::rerun-if-changed={FOLDER}");
    collect(&root, Path::new(FOLDER), &mut files);
    files.sort();

    let mut hash = Sha256::new();
    let mut table = String::new();
    let mut shell = None;
    for (number, name) in files.iter().enumerate() {
        let bytes = fs::read(root.join(name)).expect(name);
        // Lengths keep two trees apart whose files begin and end elsewhere.
        hash.update(format!("{name}\0{}\0", bytes.len()));
        hash.update(&bytes);
        if name == SHELL {
            shell = Some(String::from_utf8(bytes).expect("the shell is text"));
            continue;
        }
        let Some(media_type) = media_type(name) else {
            panic!("{name}: files of this kind are not served; add its media type to build.rs");
        };
        let gzipped = out.join(format!("{number}.gz"));
        fs::write(&gzipped, gzip(&bytes)).expect(name);
        writeln!(
            table,
            "    Asset {{ name: {name:?}, media_type: {media_type:?}, gzipped: include_bytes!({gzipped:?}) }},"
        )
        .expect("memory");
    }
    let mut tree: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    tree.truncate(HASH_LENGTH);

    let shell = shell.unwrap_or_else(|| panic!("{SHELL} is missing"));
    let shell = shell.replace(&format!("=\"{FOLDER}/"), &format!("=\"/portal/assets/{tree}/{FOLDER}/"));
    fs::write(out.join("shell.html"), shell).expect("the shell");
    let code = format!(
        "/// The hash of all files.\npub const TREE: &str = {tree:?};\n\
         /// The files, by their names.\npub const ASSETS: &[Asset] = &[\n{table}];\n"
    );
    fs::write(out.join("assets.rs"), code).expect("the table");
}

/// The files of a folder, by their paths from the root. Hidden ones, and those that only tools read, are no
/// part of the page.
fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(folder)).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name that is text");
        let path = folder.join(&name);
        let for_tools = name.starts_with('.')
            || name == "tsconfig.json"
            || name.ends_with(".d.ts")
            || name.ends_with(".md");
        if entry.file_type().expect("its type").is_dir() {
            collect(root, &path, files);
        } else if !for_tools {
            files.push(path.to_str().expect("a path that is text").replace('\\', "/"));
        }
    }
}

fn media_type(name: &str) -> Option<&'static str> {
    if name.rsplit('/').next().is_some_and(|name| name.starts_with("LICENSE")) {
        return Some("text/plain; charset=utf-8");
    }
    Some(match name.rsplit_once('.')?.1 {
        "css" => "text/css; charset=utf-8",
        "ico" => "image/x-icon",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
