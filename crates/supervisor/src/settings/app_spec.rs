//! The application's name, as an operator writes it.

use std::fmt;

use super::value::Fault;

/// Which object of which module is the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSpec {
    /// The module's dotted name.
    pub module: String,
    /// The object's name in the module, dotted when it is an attribute of another object.
    pub attribute: Option<String>,
}

impl fmt::Display for AppSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.module)?;
        self.attribute.as_ref().map_or(Ok(()), |attribute| write!(f, ":{attribute}"))
    }
}

impl AppSpec {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let (module, attribute) = match text.split_once(':') {
            Some((module, attribute)) => (module, Some(attribute)),
            None => (text, None),
        };
        if module.contains('/') || module.ends_with(".py") {
            let stem = module.trim_start_matches("./").trim_start_matches('/').trim_end_matches(".py");
            return Err(format!(
                "a module is named as in an import, not as a file: {}",
                stem.replace('/', ".")
            ));
        }
        if !is_dotted_name(module) {
            return Err("the module is not a dotted name".into());
        }
        if attribute.is_some_and(|attribute| attribute.ends_with(')')) {
            return Err("a call cannot be given; name the function and add --factory".into());
        }
        if attribute.is_some_and(|attribute| !is_dotted_name(attribute)) {
            return Err("the attribute is not a dotted name".into());
        }
        Ok(Self { module: module.into(), attribute: attribute.map(Into::into) })
    }
}

/// Near enough to the identifiers of Python's grammar to tell a slip; the import has the last word.
fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|part| {
        !part.starts_with(|first: char| first.is_ascii_digit())
            && !part.is_empty()
            && part.chars().all(|character| character.is_alphanumeric() || character == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_with_or_without_an_attribute_is_read_and_shown() {
        for text in ["app", "pkg.sub.app", "pkg:app", "_a1.b:site.application", "größe:größe"] {
            assert_eq!(AppSpec::parse(text).unwrap().to_string(), text);
        }
        let spec = AppSpec::parse("pkg.wsgi:site.app").unwrap();
        assert_eq!(spec, AppSpec { module: "pkg.wsgi".into(), attribute: Some("site.app".into()) });
    }

    #[test]
    fn what_is_wrong_with_a_name_is_said() {
        for (text, fault) in [
            ("", "the module is not a dotted name"),
            (":app", "the module is not a dotted name"),
            ("a..b", "the module is not a dotted name"),
            ("my-app:app", "the module is not a dotted name"),
            ("1a", "the module is not a dotted name"),
            ("a:", "the attribute is not a dotted name"),
            ("a:b:c", "the attribute is not a dotted name"),
            ("a:b c", "the attribute is not a dotted name"),
            ("a:make()", "a call cannot be given; name the function and add --factory"),
            ("app.py", "a module is named as in an import, not as a file: app"),
            ("./site/app.py:app", "a module is named as in an import, not as a file: site.app"),
        ] {
            assert_eq!(AppSpec::parse(text), Err(fault.into()), "{text}");
        }
    }
}
