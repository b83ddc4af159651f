//! How an organisation's portal looks.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::Api;
use shared::auth::{Authenticated, Organisation};
use shared::http::{ApiResult, Body, BodyType, Fields, Json, RequestBody, Text};
use shared::store::theme::Theme;

const URL_MAX: usize = 2_048;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EnvironmentSettingsOut")]
pub struct ThemeOut {
    /// The name that the portal shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    /// Where its picture is.
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_url: Option<String>,
    /// Its colour, `RRGGBB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_color_light: Option<String>,
    /// Its colour on a dark background, `RRGGBB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_color_dark: Option<String>,
    /// Its font.
    #[serde(skip_serializing_if = "Option::is_none")]
    font_family: Option<String>,
    /// `true`, `false`, or `auto`: as the reader's system is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    dark_mode: Option<String>,
}

impl From<Theme> for ThemeOut {
    fn from(theme: Theme) -> Self {
        Self {
            display_name: theme.display_name,
            logo_url: theme.logo_url,
            primary_color_light: theme.primary_color_light,
            primary_color_dark: theme.primary_color_dark,
            font_family: theme.font_family,
            dark_mode: theme.dark_mode,
        }
    }
}

/// How the portal looks, as a body.
pub struct ThemeIn(pub Theme);

impl RequestBody for ThemeIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "EnvironmentSettingsIn",
        &[
            ("displayName", "The name that the portal shows."),
            ("logoUrl", "Where its picture is: an https URL."),
            ("primaryColorLight", "Its colour, `RRGGBB`."),
            ("primaryColorDark", "Its colour on a dark background, `RRGGBB`."),
            ("fontFamily", "Its font: letters, digits, blanks, hyphens and commas."),
            ("darkMode", "`true`, `false`, or `auto`: as the reader's system is set."),
        ],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        Self(parse(fields))
    }
}

/// Whether a text is the URL of a picture that a page may show: https, with a host.
pub fn is_link(text: &str) -> bool {
    let uri: Option<http::Uri> = text.parse().ok();
    uri.is_some_and(|uri| {
        uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty())
    })
}

fn parse(fields: &mut Fields<'_>) -> Theme {
    let is_color = |text: &str| text.len() == 6 && text.bytes().all(|c| c.is_ascii_hexdigit());
    let is_font = |text: &str| text.chars().all(|c| c.is_alphanumeric() || " -,_".contains(c));
    let mut checked = |names: &'static [&'static str], rule: Text, fits: &dyn Fn(&str) -> bool, msg: &str| {
        let text = fields.text(names, rule).value();
        if text.as_deref().is_some_and(|text| !fits(text)) && !fields.has_violation(names[0]) {
            fields.violation(names[0], msg);
        }
        text
    };
    const COLOR: &str = "Must be six hexadecimal digits, such as 4f46e5";
    let modes = |text: &str| ["true", "false", "auto"].contains(&text);
    Theme {
        display_name: checked(&["displayName"], Text::Length(128), &|_| true, ""),
        logo_url: checked(&["logoUrl"], Text::Length(URL_MAX), &is_link, "Must be an https URL"),
        primary_color_light: checked(&["primaryColorLight"], Text::Length(6), &is_color, COLOR),
        primary_color_dark: checked(&["primaryColorDark"], Text::Length(6), &is_color, COLOR),
        font_family: checked(
            &["fontFamily"],
            Text::Length(128),
            &is_font,
            "Must have letters, digits, blanks, hyphens and commas only",
        ),
        dark_mode: checked(&["darkMode"], Text::Length(5), &modes, "Must be true, false or auto"),
    }
}

/// Reads how the portal looks.
pub async fn read(State(api): State<Api>, Authenticated(caller): Authenticated) -> ApiResult<Json<ThemeOut>> {
    Ok(Json(api.store.theme(caller.org()).await?.into()))
}

/// Replaces how the portal looks.
pub async fn replace(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    body: Body<ThemeIn>,
) -> ApiResult<Json<ThemeOut>> {
    let ThemeIn(theme) = body.read()?;
    api.store.change_theme(&caller, |_| Some(theme.clone())).await?;
    Ok(Json(theme.into()))
}
