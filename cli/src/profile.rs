//! Profiles: a server URL and a token under a name, in one file that only its owner can read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::Connection;
use crate::commands::name;
use crate::connection::Env;
use crate::error::{CliError, Result};
use crate::output::Output;

const DEFAULT: &str = "default";

/// What a profile holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) server_url: String,
    pub(crate) token: String,
}

/// `postrider profile`
#[derive(Debug, Args)]
pub struct Profiles {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Save the server URL and the token of this command line (or of the variables) under a name.
    Save {
        /// The profile's name.
        #[arg(default_value = DEFAULT, value_parser = name)]
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// List the saved profiles; tokens are not shown.
    List,
    /// Remove a profile.
    Remove {
        /// The profile's name.
        #[arg(value_parser = name)]
        name: String,
    },
}

/// The file of all profiles: `POSTRIDER_CONFIG`, or `postrider/profiles.json` in the configuration folder.
fn file(env: Env<'_>) -> Option<PathBuf> {
    if let Some(folder) = env("POSTRIDER_CONFIG") {
        return Some(Path::new(&folder).join("profiles.json"));
    }
    let folder = if cfg!(windows) {
        env("APPDATA").map(PathBuf::from)
    } else if cfg!(target_os = "macos") {
        env("HOME").map(|home| Path::new(&home).join("Library/Application Support"))
    } else {
        env("XDG_CONFIG_HOME")
            .filter(|folder| Path::new(folder).is_absolute())
            .map(PathBuf::from)
            .or_else(|| env("HOME").map(|home| Path::new(&home).join(".config")))
    };
    Some(folder?.join("postrider").join("profiles.json"))
}

fn all(env: Env<'_>) -> Result<BTreeMap<String, Profile>> {
    let Some(file) = file(env) else { return Ok(BTreeMap::new()) };
    match std::fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            CliError::usage(format!(
                "{}: not a file of profiles ({error}); repair or remove it",
                file.display()
            ))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(CliError::usage(format!("cannot read {}: {error}", file.display()))),
    }
}

/// The named profile, or the default one if it is there.
pub(crate) fn read(env: Env<'_>, named: Option<&str>) -> Result<Option<Profile>> {
    let mut profiles = all(env)?;
    match named {
        Some(name) => profiles.remove(name).map(Some).ok_or_else(|| {
            CliError::usage(format!("--profile: no profile {name:?}; `postrider profile list` shows them"))
        }),
        None => Ok(profiles.remove(DEFAULT)),
    }
}

/// Writes the file beside its place and moves it there, so that a full disk leaves the old one whole.
fn write(env: Env<'_>, profiles: &BTreeMap<String, Profile>) -> Result<PathBuf> {
    let file = file(env).ok_or_else(|| CliError::usage("no configuration folder: set POSTRIDER_CONFIG"))?;
    let failed = |error: std::io::Error| CliError::usage(format!("cannot write {}: {error}", file.display()));
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let new = folder.join(format!("profiles.{}.new", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let text = serde_json::to_vec_pretty(profiles).unwrap_or_default();
    let written = options.open(&new).and_then(|mut file| std::io::Write::write_all(&mut file, &text));
    if let Err(error) = written.and_then(|()| std::fs::rename(&new, &file)) {
        let _gone = std::fs::remove_file(&new);
        return Err(failed(error));
    }
    Ok(file)
}

/// Does what was asked.
pub(crate) fn run(flags: &Profiles, env: Env<'_>, out: &Output) -> Result<()> {
    let mut profiles = all(env)?;
    match &flags.action {
        Action::Save { name, connection } => {
            let (server_url, token) = connection.resolve(env)?;
            let token = token.ok_or_else(|| CliError::usage("--token: nothing to save; give the token"))?;
            profiles.insert(name.clone(), Profile { server_url: server_url.clone(), token });
            let file = write(env, &profiles)?;
            out.line(&format!("Saved profile {name} ({server_url}) in {}", file.display()))
        }
        Action::List => {
            let rows = profiles.iter().map(|(name, profile)| vec![name.clone(), profile.server_url.clone()]);
            out.table(&["NAME", "SERVER"], rows.collect(), true)
        }
        Action::Remove { name } => {
            if profiles.remove(name).is_none() {
                return Err(CliError::usage(format!(
                    "no profile {name:?}; `postrider profile list` shows them"
                )));
            }
            write(env, &profiles)?;
            out.line(&format!("Removed profile {name}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_kept_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        let env = move |name: &str| (name == "POSTRIDER_CONFIG").then(|| path.clone());
        assert!(read(&env, None).unwrap().is_none());
        assert!(read(&env, Some("x")).is_err());
        let saved = Profile { server_url: "http://a".into(), token: "secret".into() };
        let file = write(&env, &BTreeMap::from([(DEFAULT.to_owned(), saved)])).unwrap();
        assert_eq!(read(&env, None).unwrap().unwrap().token, "secret");
        #[cfg(unix)]
        {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(&file, "{").unwrap();
        assert!(read(&env, None).unwrap_err().to_string().contains("repair or remove it"));
    }
}
