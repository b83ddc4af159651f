//! The older of AWS's protocols, which STS and SNS speak: a form goes out, XML comes back.

/// A body of `application/x-www-form-urlencoded`.
pub fn encoded<'a>(fields: impl IntoIterator<Item = (String, &'a str)>) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        form.append_pair(&name, value);
    }
    form.finish()
}

/// The text within the first element of that name, with the five entities that XML has by itself.
pub fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    Some(entities.iter().fold(text.trim().to_owned(), |text, (entity, c)| text.replace(entity, c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_elements() {
        assert_eq!(encoded([("A.1".to_owned(), "x y&z=é")]), "A.1=x+y%26z%3D%C3%A9");
        let xml = "<a><Code> No&lt;&amp;amp; </Code><Code>2</Code></a>";
        assert_eq!(element(xml, "Code").as_deref(), Some("No<&amp;"));
        assert_eq!(element(xml, "Message"), None);
        assert_eq!(element("<Code>x", "Code"), None);
    }
}
