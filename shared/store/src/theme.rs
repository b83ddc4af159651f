//! How an organisation's portal looks.

use super::audit::{AuditAction, AuditSnapshot, Change};
use super::item::{Get as _, Item, Put as _, SCHEMA, n, s};
use super::transaction::{Guard, Transacted, Transaction, create, put};
use super::{Store, Table, keys};
use domain::caller::Caller;
use domain::error::Result;
use domain::ids::OrgId;
use runtime::clock::Timestamp;

/// What of the portal an organisation may choose; what it does not is as the page has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Theme {
    /// The name that is shown.
    pub display_name: Option<String>,
    /// Where its picture is.
    pub logo_url: Option<String>,
    /// Six hexadecimal digits.
    pub primary_color_light: Option<String>,
    /// The same on a dark ground.
    pub primary_color_dark: Option<String>,
    /// The font.
    pub font_family: Option<String>,
    /// `true`, `false`, or `auto`: as the reader's machine has it.
    pub dark_mode: Option<String>,
}

impl Theme {
    /// These values, and those of `old` where there are none.
    #[must_use]
    pub fn over(self, old: Self) -> Self {
        Self {
            display_name: self.display_name.or(old.display_name),
            logo_url: self.logo_url.or(old.logo_url),
            primary_color_light: self.primary_color_light.or(old.primary_color_light),
            primary_color_dark: self.primary_color_dark.or(old.primary_color_dark),
            font_family: self.font_family.or(old.font_family),
            dark_mode: self.dark_mode.or(old.dark_mode),
        }
    }

    fn fields(&self) -> [(&'static str, Option<&String>); 6] {
        [
            ("displayName", self.display_name.as_ref()),
            ("logoUrl", self.logo_url.as_ref()),
            ("primaryColorLight", self.primary_color_light.as_ref()),
            ("primaryColorDark", self.primary_color_dark.as_ref()),
            ("fontFamily", self.font_family.as_ref()),
            ("darkMode", self.dark_mode.as_ref()),
        ]
    }

    fn facts(&self) -> AuditSnapshot {
        let fields = self.fields().into_iter();
        fields.fold(AuditSnapshot::default(), |facts, (name, value)| {
            facts.with(name, value.map(String::as_str))
        })
    }

    fn from_item(item: &Item) -> Result<Self> {
        item.check_schema()?;
        let text = |name| item.text_opt(name).map(str::to_owned);
        Ok(Self {
            display_name: text("displayName"),
            logo_url: text("logoUrl"),
            primary_color_light: text("primaryColorLight"),
            primary_color_dark: text("primaryColorDark"),
            font_family: text("fontFamily"),
            dark_mode: text("darkMode"),
        })
    }
}

impl Store {
    /// Reads how an organisation's portal looks.
    ///
    /// # Errors
    /// The store's own.
    pub async fn theme(&self, org: OrgId) -> Result<Theme> {
        Ok(self.find_theme(org).await?.map(|(theme, _)| theme).unwrap_or_default())
    }

    async fn find_theme(&self, org: OrgId) -> Result<Option<(Theme, Timestamp)>> {
        let item = self.get(Table::Config, keys::theme(org), true, "read a theme").await?;
        item.map(|item| Ok((Theme::from_item(&item)?, item.time("updatedAt")?))).transpose()
    }

    /// Changes how the portal of the caller's organisation looks to what `change` makes of how it does; nothing is
    /// written if it makes nothing of it.
    ///
    /// # Errors
    /// The store's own.
    pub async fn change_theme(&self, by: &Caller, change: impl Fn(Theme) -> Option<Theme>) -> Result<()> {
        self.retry_on_conflict(async || {
            let old = self.find_theme(by.org()).await?;
            let before = old.as_ref().map(|(theme, _)| theme.clone()).unwrap_or_default();
            let Some(theme) = change(before) else { return Ok(Some(())) };
            let now = self.clock.now();
            let now = old.as_ref().map_or(now, |(_, at)| now.max(Timestamp::from_ms(at.ms() + 1)));
            let item = keys::theme(by.org()).with("v", n(SCHEMA)).with("updatedAt", n(now.ms()));
            let fields = theme.fields().into_iter();
            let item = fields.fold(item, |item, (name, value)| item.with_some(name, value.map(s)));
            let change = Change::new(by, AuditAction::EnvironmentUpdated, by.org()).to(theme.facts());
            let table = self.table(Table::Config);
            let (change, write) = match &old {
                None => (change, create(table, item)),
                Some((old, at)) => {
                    let write = put(table, item)
                        .condition_expression("updatedAt = :old")
                        .expression_attribute_values(":old", n(at.ms()));
                    (change.from(old.facts()), write)
                }
            };
            let mut tx = Transaction::new("change a theme");
            tx.add(Guard::Unchanged, write)?;
            tx.add(Guard::Fresh, self.audit(change))?;
            Ok((self.transact(tx).await? == Transacted::Done).then_some(()))
        })
        .await
    }
}
