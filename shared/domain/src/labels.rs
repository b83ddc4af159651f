//! What a message carries that decides where it goes and how it is found.

/// A message's event type, channels and tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Its event type.
    pub event_type: String,
    /// Its channels: endpoints with channels get it only if they have one of these.
    pub channels: Option<Vec<String>>,
    /// Its tags, to find it by.
    pub tags: Option<Vec<String>>,
}

impl Labels {
    /// An event type without channels and tags.
    pub fn of(event_type: impl Into<String>) -> Self {
        Self { event_type: event_type.into(), ..Self::default() }
    }

    /// Whether that is one of its channels.
    pub fn has_channel(&self, channel: &str) -> bool {
        self.channels.iter().flatten().any(|ours| ours == channel)
    }

    /// Whether that is one of its tags.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().flatten().any(|ours| ours == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_compared_whole() {
        let none = Labels::of("a");
        assert!(!none.has_channel("a") && !none.has_tag("a"));
        let some = Labels { channels: Some(vec!["ab".into()]), tags: Some(vec!["t".into()]), ..none };
        assert!(some.has_channel("ab") && !some.has_channel("a") && !some.has_channel("t"));
        assert!(some.has_tag("t") && !some.has_tag("ab"));
    }
}
