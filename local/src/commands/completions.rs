//! `postrider completions`: a script with which a shell completes commands and flags.

use clap::ValueEnum;

/// A shell that completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The script for that shell.
pub(crate) fn completions(shell: Shell, mut command: clap::Command) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "postrider", &mut script);
    String::from_utf8_lossy(&script).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::process::Command;

    fn script(shell: Shell) -> String {
        completions(shell, crate::cli::command())
    }

    /// What bash offers for the last of these words; none where there is no bash.
    fn offered(words: &[&str]) -> Option<Vec<String>> {
        let line = format!(
            "{}\nCOMP_WORDS=({}); COMP_CWORD={}; _postrider postrider {:?} {:?}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script(Shell::Bash),
            words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let output = Command::new("bash").args(["--norc", "-c", &line]).output().ok()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
    }

    #[test]
    fn bash_completes_commands_subcommands_and_flags() {
        for (words, expected) in [
            (&["postrider", "lis"][..], &["listen"][..]),
            (&["postrider", "endpoint", "pa"], &["pause"]),
            (&["postrider", "export", "--with"], &["--with-secrets"]),
            (&["postrider", "completions", "z"], &["zsh"]),
        ] {
            let Some(offered) = offered(words) else { return };
            assert_eq!(offered, expected, "{words:?}");
        }
    }

    #[test]
    fn zsh_and_fish_know_all_commands() {
        let command = crate::cli::command();
        for shell in [Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for command in command.get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell:?}: {}", command.get_name());
            }
        }
    }
}
