//! Randomness, injected: keys, ids and jitter are drawn here and nowhere else.

use std::fmt;
use std::sync::Arc;

use ring::rand::SecureRandom as _;

/// A source of unpredictable bytes.
pub trait Random: Send + Sync + fmt::Debug {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// A source that functions share.
pub type SharedRandom = Arc<dyn Random>;

/// Draws `N` bytes.
pub fn bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut drawn = [0; N];
    random.fill(&mut drawn);
    drawn
}

/// The operating system's generator.
#[derive(Debug)]
pub struct SystemRandom(ring::rand::SystemRandom);

impl SystemRandom {
    /// A handle to the operating system's generator.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where the machine's randomness comes in"
    )]
    pub fn new() -> Self {
        Self(ring::rand::SystemRandom::new())
    }
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self::new()
    }
}

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        // Without entropy no id and no key is safe to hand out: stopping is the only right answer.
        self.0.fill(bytes).expect("the operating system provides random bytes");
    }
}
