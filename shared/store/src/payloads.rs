//! The texts of a page of messages: as many as one answer can carry.

use futures_util::future::try_join_all;

use super::Store;
use super::messages::{Message, Payload};
use domain::error::Result;
use domain::page::{Page, TEXTS_LENGTH_MAX};

/// How many texts are read at the same time.
const READ_AT_ONCE: usize = 10;

impl Store {
    /// Reads the text of each entry's message, until one answer can carry no more: the page ends there.
    ///
    /// # Errors
    /// The store's own.
    pub async fn with_payloads<T>(
        &self,
        page: Page<T>,
        backward: bool,
        message: impl Fn(&T) -> &Message,
    ) -> Result<Page<(T, Option<Payload>)>> {
        let Page { mut entries, done, resume } = page;
        if backward {
            entries.reverse();
        }
        let (mut texts, mut length) = (Vec::with_capacity(entries.len()), 0);
        for chunk in entries.chunks(READ_AT_ONCE) {
            let read = try_join_all(chunk.iter().map(|entry| self.payload(message(entry)))).await?;
            length += read.iter().flatten().map(|text| text.json.len()).sum::<usize>();
            texts.extend(read);
            if length > TEXTS_LENGTH_MAX {
                break;
            }
        }
        let cut = texts.len() < entries.len();
        let mut entries: Vec<_> = entries.into_iter().zip(texts).collect();
        if backward {
            entries.reverse();
        }
        let page = Page { entries, done: done && !cut, resume: resume.filter(|_| !cut) };
        Ok(page.fit(backward, |(_, text)| text.as_ref().map_or(0, |text| text.json.len())))
    }
}
