//! The page's files, as `build.rs` embeds them.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    /// Its path, such as `app/main.js`.
    pub name: &'static str,
    /// What it is.
    pub media_type: &'static str,
    /// Its bytes, gzipped.
    pub gzipped: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

impl Asset {
    /// The file of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ASSETS.iter().find(|asset| asset.name == name)
    }

    /// Its bytes.
    pub fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        // What the build has gzipped comes out whole.
        let read = GzDecoder::new(self.gzipped).read_to_end(&mut plain);
        debug_assert!(read.is_ok(), "{}: {read:?}", self.name);
        plain
    }
}

/// These bytes, gzipped.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len()), Compression::best());
    // A vector takes everything.
    let written = encoder.write_all(bytes);
    debug_assert!(written.is_ok(), "{written:?}");
    encoder.finish().unwrap_or_default()
}
