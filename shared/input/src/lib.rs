//! Reading what others write: JSON objects taken apart field by field, every broken rule reported, and
//! described by the same code that reads them.

mod application;
mod field;
mod fields;
mod object;
mod retry;
mod schema;
mod text;
pub mod unknown;

pub use application::{ApplicationIn, ApplicationPatch};
pub use field::Field;
pub use fields::Fields;
pub use retry::RETRY_POLICY;
pub use schema::{Note, Rule, Shape, Shaped, of_shape};
pub use text::Text;

/// A request body as a type: how it is read, and what its fields mean.
pub trait RequestBody: Sized {
    /// What reading needs besides the fields.
    type With: Default;
    /// How it is described.
    const TYPE: BodyType;

    /// Reads it; broken rules stay in `fields`.
    fn read(fields: &mut Fields<'_>, with: Self::With) -> Self;
}

/// A kind of request body, described. The meanings have to name just the fields that are read, or the
/// document cannot be made.
#[derive(Clone, Copy, Debug)]
pub struct BodyType {
    /// The schema's name.
    pub name: &'static str,
    /// Reads it; this is the code that the handler runs.
    pub read: fn(&mut Fields<'_>),
    /// There may be no body at all.
    pub optional: bool,
    /// What each field means. A field in an object that is no part of its own is `object.field`.
    pub fields: &'static [(&'static str, &'static str)],
    /// Fields that hold another body.
    pub parts: &'static [(&'static str, &'static BodyType)],
}

impl BodyType {
    /// The body that `T` reads, under this name, and what its fields mean.
    pub const fn of<T: RequestBody>(
        name: &'static str,
        fields: &'static [(&'static str, &'static str)],
    ) -> Self {
        let read: fn(&mut Fields<'_>) = |fields| drop(T::read(fields, T::With::default()));
        Self { name, read, optional: false, fields, parts: &[] }
    }

    /// The same, where there may be no body at all.
    #[must_use]
    pub const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// The same, where these fields hold other bodies.
    #[must_use]
    pub const fn with_parts(self, parts: &'static [(&'static str, &'static Self)]) -> Self {
        Self { parts, ..self }
    }
}

/// `a, b or c`
pub fn either(words: &[String]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.join(""),
    }
}
