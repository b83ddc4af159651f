//! Single keys from a terminal, and the terminal as it was when that ends.

use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

/// Keys that quit. Ctrl-D too: the end of input.
const QUIT: [u8; 2] = [b'q', 4];

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Resend,
    Details,
    Open,
}

impl Key {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            b'r' => Some(Self::Resend),
            b'd' => Some(Self::Details),
            b'o' => Some(Self::Open),
            _ => None,
        }
    }
}

/// Keys as they are pressed. Dropped, it puts the terminal back.
#[derive(Debug)]
pub(super) struct Keys {
    pressed: Option<mpsc::Receiver<Key>>,
    /// Quitting does not wait for what other keys began.
    quit: Arc<Notify>,
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Keys {
    /// Reads keys if `wanted` and standard input is a terminal.
    #[cfg(unix)]
    pub(super) fn read(wanted: bool) -> Self {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let quit = Arc::new(Notify::new());
        let none = Self { pressed: None, quit: Arc::clone(&quit), before: None };
        let stdin = std::io::stdin();
        let Some(before) = wanted.then(|| tcgetattr(&stdin).ok()).flatten() else { return none };
        let mut single = before.clone();
        // Ctrl-C stays a signal, and lines are printed as ever.
        single.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        if tcsetattr(&stdin, OptionalActions::Now, &single).is_err() {
            return none;
        }
        let (tell, pressed) = mpsc::channel(16);
        // A thread of its own: a read that waits cannot be cancelled, and ends with the process.
        let quitting = Arc::clone(&quit);
        std::thread::spawn(move || {
            let mut byte = [0];
            while std::io::Read::read(&mut std::io::stdin(), &mut byte).is_ok_and(|length| length == 1) {
                if QUIT.contains(&byte[0]) {
                    quitting.notify_one();
                }
                // Keys that nobody has time for are lost.
                let told = Key::of(byte[0]).map(|key| tell.try_send(key));
                if let Some(Err(TrySendError::Closed(_))) = told {
                    return;
                }
            }
        });
        Self { pressed: Some(pressed), quit, before: Some(before) }
    }

    /// Single keys are for Unix terminals.
    #[cfg(not(unix))]
    pub(super) fn read(_: bool) -> Self {
        Self { pressed: None, quit: Arc::default() }
    }

    /// Notified once somebody wants to quit.
    pub(super) fn quit(&self) -> Arc<Notify> {
        Arc::clone(&self.quit)
    }

    /// Whether keys are read at all.
    pub(super) fn are_read(&self) -> bool {
        self.pressed.is_some()
    }

    /// The next key; waits for ever where none is read.
    pub(super) async fn next(&mut self) -> Key {
        match &mut self.pressed {
            Some(pressed) => match pressed.recv().await {
                Some(key) => key,
                None => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let stdin = std::io::stdin();
            let _kept = rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Now, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_mean_nothing_are_ignored() {
        assert_eq!(Key::of(b'r'), Some(Key::Resend));
        assert_eq!(Key::of(b'x'), None);
        assert_eq!(Key::of(b'q'), None, "it has a way of its own");
    }
}
