//! Embeds the page: its modules as one, its style sheets as one, without comments and needless space; each file
//! gzipped, and all of them under one name that changes with any of them.
//!
//! Modules import each other by relative URLs, so one hash over the whole tree names all of them; no
//! file has to be rewritten but the shell. Nothing but this crate is needed for it: no Node, no network.

#[path = "build/bundle.rs"]
mod bundle;
#[path = "build/keys.rs"]
mod keys;
#[path = "build/names.rs"]
mod names;
#[path = "build/scopes.rs"]
mod scopes;
#[path = "build/script.rs"]
mod script;
#[path = "build/sheet.rs"]
mod sheet;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use sha2::{Digest as _, Sha256};

/// The folder that is embedded. The shell refers to its files by this name. `vendor`, beside it, holds the
/// licences of what comes from others, and digests.
const FOLDER: &str = "app";
const SHELL: &str = "index.html";
/// The module that all others become a part of, and the style sheet.
const SCRIPT: &str = "main.js";
const SHEET: &str = "style.css";
/// Others' code, which stays byte for byte what they published, under a line that says whose it is.
const VENDORED: &str = "preact.js";
const BANNER: &str = "/*! htm 3.1.1, Apache-2.0, and Preact 10, MIT: https://github.com/developit/htm */\n";
/// How modules begin that are loaded for one language.
const TEXTS: &str = "text-";
/// Digits of the tree's hash.
const HASH_LENGTH: usize = 16;

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the folder"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the output"));
    println!("cargo::rerun-if-changed={FOLDER}");
    println!("cargo::rerun-if-changed=build");
    let sources = read(&root.join(FOLDER));
    let files = served(&sources).unwrap_or_else(|error| panic!("{FOLDER}/{error}"));

    let mut hash = Sha256::new();
    let mut table = String::new();
    for (number, (name, text)) in files.iter().enumerate() {
        // Lengths keep two trees apart whose files begin and end elsewhere.
        hash.update(format!("{name}\0{}\0", text.len()));
        hash.update(text);
        let Some(media_type) = media_type(name) else {
            panic!("{name}: files of this kind are not served; add its media type to build.rs");
        };
        let gzipped = out.join(format!("{number}.gz"));
        fs::write(&gzipped, gzip(text.as_bytes())).expect(name);
        let name = format!("{FOLDER}/{name}");
        writeln!(
            table,
            "    Asset {{ name: {name:?}, media_type: {media_type:?}, gzipped: include_bytes!({gzipped:?}) }},"
        )
        .expect("memory");
    }
    let mut tree: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    tree.truncate(HASH_LENGTH);

    let shell = sources.get(SHELL).unwrap_or_else(|| panic!("{SHELL} is missing"));
    // What became a part of another file needs no link.
    let is_served = |line: &&str| match line.split_once(&format!("=\"{FOLDER}/")) {
        Some((_, rest)) => rest.split_once('"').is_some_and(|(name, _)| files.contains_key(name)),
        None => true,
    };
    let shell: String = shell.lines().filter(is_served).flat_map(|line| [line, "\n"]).collect();
    let shell = shell.replace(&format!("=\"{FOLDER}/"), &format!("=\"/portal/assets/{tree}/{FOLDER}/"));
    fs::write(out.join("shell.html"), shell).expect("the shell");
    let code = format!(
        "/// The hash of all files.\npub const TREE: &str = {tree:?};\n\
         /// The files, by their names.\npub const ASSETS: &[Asset] = &[\n{table}];\n"
    );
    fs::write(out.join("assets.rs"), code).expect("the table");
}

/// The folder's files, by name. Hidden ones, and those that only tools read, are no part of the page.
fn read(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name that is text").to_owned();
        let for_tools = name.starts_with('.') || name == "tsconfig.json" || name.ends_with(".d.ts");
        if !for_tools {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            files.insert(name, text);
        }
    }
    files
}

/// The files that browsers ask for.
fn served(sources: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let mut files = BTreeMap::new();
    let is_apart = |name: &str| name == VENDORED || name.starts_with(TEXTS);
    let scripts = |of: &dyn Fn(&str) -> bool| -> BTreeMap<_, _> {
        let scripts = sources.iter().filter(|(name, _)| name.ends_with(".js") && of(name));
        scripts.map(|(name, text)| (name.clone(), text.clone())).collect()
    };
    let scripts = keys::number(&scripts(&|name| name.starts_with(TEXTS)), &scripts(&|name| !is_apart(name)))?;
    let module = |specifier: &str| {
        let name = specifier.strip_prefix("./")?;
        scripts.get(name).filter(|_| !is_apart(name)).cloned()
    };
    files.insert(SCRIPT.to_owned(), bundle::bundle(&format!("./{SCRIPT}"), &module)?);
    // The cascade is by name: what is in the sheet of that name comes first.
    let mut sheets: Vec<_> = sources.iter().filter(|(name, _)| name.ends_with(".css")).collect();
    sheets.sort_by_key(|(name, _)| *name != SHEET);
    files.insert(SHEET.to_owned(), sheets.iter().map(|(_, sheet)| sheet::write(sheet)).collect());
    for (name, text) in sources {
        let text = match name.rsplit_once('.').map_or("", |(_, kind)| kind) {
            "html" | "css" => continue,
            "js" if name == VENDORED => format!("{BANNER}{text}"),
            "js" if is_apart(name) => scripts[name].clone(),
            "js" => continue,
            _ => text.clone(),
        };
        files.insert(name.clone(), text);
    }
    Ok(files)
}

fn media_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    // Smaller by a twentieth than zlib's best, for any browser. It takes its time, once a build.
    let mut gzipped = Vec::new();
    zopfli::compress(zopfli::Options::default(), zopfli::Format::Gzip, bytes, &mut gzipped).expect("memory");
    gzipped
}
