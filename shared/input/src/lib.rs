//! Reading what others write: JSON objects taken apart field by field, every broken rule reported, and
//! described by the same code that reads them.

mod application;
mod field;
mod fields;
mod object;
mod schema;
mod text;
pub mod unknown;

pub use application::ApplicationIn;
pub use field::Field;
pub use fields::Fields;
pub use schema::{Note, Rule, Shape, Shaped, of_shape};
pub use text::Text;

/// A kind of request body: how it is read, and what its fields mean. The meanings have to name just
/// the fields that are read, or the document cannot be made.
#[derive(Debug)]
pub struct RequestBody {
    /// The schema's name.
    pub name: &'static str,
    /// Reads it; this is the code that the handler runs.
    pub read: fn(&mut Fields<'_>),
    /// There may be no body at all.
    pub optional: bool,
    /// What each field means. A field in an object that is no part of its own is `object.field`.
    pub fields: &'static [(&'static str, &'static str)],
    /// Fields that hold another body.
    pub parts: &'static [(&'static str, &'static RequestBody)],
}

/// `a, b or c`
pub fn either(words: &[String]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.join(""),
    }
}
