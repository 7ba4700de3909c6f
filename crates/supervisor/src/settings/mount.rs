//! Applications beside the main one, as an operator writes them.

use std::fmt;

use super::AppSpec;
use super::texts;
use super::value::Fault;

/// What a mount looks like, for help and error lines.
pub(super) const ACCEPTED: &str = "/PREFIX=MODULE[:ATTR], /PREFIX without a slash at its end";

/// An application that gets the requests below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// From a slash to the end of a segment, percent-decoded.
    pub prefix: String,
    /// Which application.
    pub app: AppSpec,
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.prefix, self.app)
    }
}

impl Mount {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        // The last one: a path may hold an equals sign, a dotted name may not.
        let (prefix, app) = text.rsplit_once('=').ok_or("an equals sign must follow the prefix")?;
        let prefix = texts::prefix(prefix).map_err(|fault| format!("the prefix {fault}"))?;
        Ok(Self { prefix, app: AppSpec::parse(app)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_and_an_application_are_read_and_shown() {
        for (text, prefix, app) in [
            ("/live=chat.asgi:app", "/live", "chat.asgi:app"),
            ("/a/b=pkg", "/a/b", "pkg"),
            ("/a=b=pkg", "/a=b", "pkg"),
            ("/café=größe", "/café", "größe"),
        ] {
            let mount = Mount::parse(text).unwrap();
            assert_eq!((mount.prefix.as_str(), mount.app.to_string().as_str()), (prefix, app), "{text}");
            assert_eq!(mount.to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_with_a_mount_is_said() {
        for (text, fault) in [
            ("", "an equals sign must follow the prefix"),
            ("/live", "an equals sign must follow the prefix"),
            ("=chat", "the prefix must begin with a slash"),
            ("/=chat", "the prefix must not end with a slash"),
            ("live=chat", "the prefix must begin with a slash"),
            ("/live/=chat", "the prefix must not end with a slash"),
            ("/a%20b=chat", "the prefix must be a plain path, without %, ? and #"),
            ("/live=", "the module is not a dotted name"),
            ("/live=chat.py", "a module is named as in an import, not as a file: chat"),
            ("/live=chat:make()", "a call cannot be given; name the function and add --factory"),
        ] {
            assert_eq!(Mount::parse(text), Err(fault.into()), "{text}");
        }
    }
}
