//! The secrets of an installation on one's own machine, the folder that holds them, and its lock.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use shared::random::{Random, bytes};

/// The variables that hold a secret.
pub(crate) const SECRETS: [&str; 2] = ["POSTRIDER_JWT_SECRET", "POSTRIDER_ENCRYPTION_KEY"];
/// The file with the secrets.
const SECRETS_FILE: &str = "secrets";
/// The file that is locked.
const LOCK_FILE: &str = "lock";

/// The data folder cannot be used. One line that names it.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another runner has it.
    #[error(
        "POSTRIDER_DATA: the folder {} is in use by another local runner; stop that one or choose another folder",
        .0.display()
    )]
    InUse(PathBuf),
    /// It cannot be read or written.
    #[error("POSTRIDER_DATA: cannot use {}: {source}", .path.display())]
    Io {
        /// The folder, or a file in it.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// No runner has used the folder.
    #[error(
        "POSTRIDER_DATA: {} has no secret: no local runner was started with this folder; name another folder, or \
         give the secret with --jwt-secret or --secret-stdin",
        .0.display()
    )]
    NoSecrets(PathBuf),
    /// The secrets' file makes no sense.
    #[error("POSTRIDER_DATA: {} should have a line {variable}=…; restore it, or start with another folder", .path.display())]
    Secrets {
        /// The file.
        path: PathBuf,
        /// What is missing in it.
        variable: &'static str,
    },
}

/// A folder that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be and takes it.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        make(path)?;
        let at = path.join(LOCK_FILE);
        let lock = private_file(&at).map_err(|source| FolderError::Io { path: at.clone(), source })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(FolderError::Io { path: at, source }),
        }
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// A folder that only its owner can look into; one that is there stays as it is.
fn make(path: &Path) -> Result<(), FolderError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| FolderError::Io { path: path.to_owned(), source })
}

/// A file that only its owner can read, made if need be. (What SQLite puts beside a database gets the
/// database's mode.)
pub(crate) fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The secrets that are kept in a folder; generated and stored where there are none yet.
pub(crate) fn kept(folder: &Path, random: &dyn Random) -> Result<BTreeMap<String, String>, FolderError> {
    make(folder)?;
    let path = folder.join(SECRETS_FILE);
    let io = |source| FolderError::Io { path: path.clone(), source };
    let mut file = private_file(&path).map_err(io)?;
    // Two that start at once must not draw two secrets; the lock ends with the handle.
    file.lock().map_err(io)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(io)?;
    if text.is_empty() {
        text = draw(random).iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        file.rewind().map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        // What is sealed with a lost key is lost.
        file.sync_all().map_err(io)?;
    }
    parse(&text, &path)
}

/// The secrets that a folder holds already.
///
/// Takes no lock of the folder, so that `postrider token` works while a runner has it.
pub(crate) fn existing(folder: &Path) -> Result<BTreeMap<String, String>, FolderError> {
    let path = folder.join(SECRETS_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.is_empty() => parse(&text, &path),
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(FolderError::Io { path, source }),
        _ => Err(FolderError::NoSecrets(folder.to_owned())),
    }
}

fn parse(text: &str, path: &Path) -> Result<BTreeMap<String, String>, FolderError> {
    let secret = |variable: &'static str| {
        let value = text.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('='));
        match value.map(str::trim).filter(|value| !value.is_empty()) {
            Some(value) => Ok((variable.to_owned(), value.to_owned())),
            None => Err(FolderError::Secrets { path: path.to_owned(), variable }),
        }
    };
    SECRETS.into_iter().map(secret).collect()
}

/// New secrets.
pub(crate) fn draw(random: &dyn Random) -> BTreeMap<String, String> {
    let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    SECRETS.into_iter().map(|name| (name.to_owned(), hex(bytes(random)))).collect()
}

/// The secrets that are not given, put beside those that are.
pub(crate) fn complete(
    given: &mut BTreeMap<String, String>,
    folder: Option<&Path>,
    random: &dyn Random,
) -> Result<(), FolderError> {
    let missing = |name: &str| given.get(name).is_none_or(|value| value.trim().is_empty());
    let missing: Vec<&str> = SECRETS.into_iter().filter(|name| missing(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut own = match folder {
        Some(folder) => kept(folder, random)?,
        None => draw(random),
    };
    given.extend(missing.into_iter().filter_map(|name| own.remove_entry(name)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use shared::random::SystemRandom;

    use super::*;

    #[test]
    fn secrets_survive_a_restart_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let random = SystemRandom::new();
        let first = kept(&path, &random).unwrap();
        assert_eq!(first.len(), 2);
        assert!(first.values().all(|secret| secret.len() == 64));
        assert_ne!(first[SECRETS[0]], first[SECRETS[1]]);
        assert_eq!(kept(&path, &random).unwrap(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o700);
            assert_eq!(mode(&path.join(SECRETS_FILE)), 0o600);
        }
        std::fs::write(path.join(SECRETS_FILE), "POSTRIDER_JWT_SECRET=x\n").unwrap();
        let error = kept(&path, &random).unwrap_err().to_string();
        assert!(error.contains("POSTRIDER_ENCRYPTION_KEY=") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn given_secrets_win_and_are_not_stored() {
        let folder = tempfile::tempdir().unwrap();
        let random = SystemRandom::new();
        let mut given = BTreeMap::from([(SECRETS[0].to_owned(), "mine".to_owned())]);
        complete(&mut given, Some(folder.path()), &random).unwrap();
        assert_eq!(given[SECRETS[0]], "mine");
        assert_eq!(given[SECRETS[1]], kept(folder.path(), &random).unwrap()[SECRETS[1]]);
        let stored = std::fs::read_to_string(folder.path().join(SECRETS_FILE)).unwrap();
        assert!(!stored.contains("mine"));

        let fresh = || {
            let mut given = BTreeMap::from([(SECRETS[0].to_owned(), " ".to_owned())]);
            complete(&mut given, None, &random).unwrap();
            given
        };
        assert_ne!(fresh(), fresh());
    }

    #[test]
    fn one_runner_has_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let held = Folder::open(folder.path()).unwrap();
        let error = Folder::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("in use by another local runner") && !error.contains('\n'), "{error}");
        drop(held);
        Folder::open(folder.path()).unwrap();
    }
}
