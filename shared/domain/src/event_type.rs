//! Event types: the names that an organisation's messages carry.

use runtime::clock::Timestamp;

use crate::caller::Caller;

/// An event type as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    /// Its name, unique in the organisation.
    pub name: String,
    /// For people.
    pub description: String,
    /// JSON text: schemas by version.
    pub schemas: Option<String>,
    /// Only customers with one of these flags see it; everybody, if there are none.
    pub feature_flags: Vec<String>,
    /// The group that it is shown in.
    pub group_name: Option<String>,
    /// No longer offered.
    pub archived: bool,
    /// Still offered, but not to be used in new work.
    pub deprecated: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

impl EventType {
    /// Whether `caller` may see it.
    pub fn visible_to(&self, caller: &Caller) -> bool {
        caller.sees(&self.feature_flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Who;
    use crate::ids::OrgId;

    #[test]
    fn one_flag_of_several_shows_it() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let flagged = |flags: &[&str]| EventType {
            name: "a.b".into(),
            description: String::new(),
            schemas: None,
            feature_flags: names(flags),
            group_name: None,
            archived: false,
            deprecated: false,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        };
        let org: OrgId = crate::caller::DEFAULT_ORG.parse().unwrap();
        let app = "app_23rb8YdGqMT0qIzpgGwdXfHirMu".parse().unwrap();
        let with = |flags: &[&str]| -> Caller {
            Who::App {
                org,
                app,
                feature_flags: names(flags),
                made: Timestamp::default(),
                capabilities: crate::capability::Capabilities::ALL,
                session: None,
            }
            .into()
        };
        assert!(
            flagged(&["x", "y"]).visible_to(&with(&["y"]))
                && flagged(&["x"]).visible_to(&Who::Org(org).into())
        );
        assert!(flagged(&[]).visible_to(&with(&[])) && !flagged(&["x"]).visible_to(&with(&["y"])));
    }
}
