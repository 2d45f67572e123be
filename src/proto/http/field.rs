//! What stands inside header values: parameters, cookies, credentials.

use std::borrow::Cow;
use std::fmt;

use super::base64;
use super::head::Head;
use super::syntax::is_tchar;
use super::target::BadEscape;

/// The parameter of a header value, such as `charset` of `text/html; charset="utf-8"` (RFC 9110 §5.6.6): unquoted, with
/// its escapes resolved. The name matches in any letter case. None also where the value is malformed.
///
/// ```
/// use vansire::http::param;
///
/// assert_eq!(param(r#"form-data; name="a\"b""#, "name").as_deref(), Some("a\"b"));
/// assert_eq!(param("text/html; Charset=utf-8", "charset").as_deref(), Some("utf-8"));
/// ```
pub fn param<'v>(value: &'v str, name: &str) -> Option<Cow<'v, str>> {
    let mut rest = skip_to_semicolon(value)?;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let name_len = rest.bytes().position(|b| !is_tchar(b)).unwrap_or(rest.len());
        match rest[name_len..].strip_prefix('=') {
            Some(value) if rest[..name_len].eq_ignore_ascii_case(name) => return param_value(value),
            Some(value) => rest = skip_to_semicolon(value)?,
            None => rest = skip_to_semicolon(&rest[name_len..])?,
        }
    }
}

/// What follows the next semicolon that is not inside of quotes.
fn skip_to_semicolon(text: &str) -> Option<&str> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => return Some(&text[at + 1..]),
            _ => {}
        }
    }
    None
}

/// The token or quoted string (RFC 9110 §5.6.4) at the start of the text.
fn param_value(text: &str) -> Option<Cow<'_, str>> {
    let Some(quoted) = text.strip_prefix('"') else {
        let len = text.bytes().position(|b| !is_tchar(b)).unwrap_or(text.len());
        return (len > 0).then_some(Cow::Borrowed(&text[..len]));
    };
    let mut unescaped = String::new();
    let mut rest = quoted;
    loop {
        let at = rest.find(['"', '\\'])?;
        if rest.as_bytes()[at] == b'"' {
            return Some(if unescaped.is_empty() {
                Cow::Borrowed(&rest[..at])
            } else {
                Cow::Owned(unescaped + &rest[..at])
            });
        }
        let escaped = rest[at + 1..].chars().next()?;
        unescaped.push_str(&rest[..at]);
        unescaped.push(escaped);
        rest = &rest[at + 1 + escaped.len_utf8()..];
    }
}

/// Who the client says it is, from the Authorization header.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials<'a> {
    /// `Basic` (RFC 7617).
    Basic {
        /// The user id, which has no colon.
        user: String,
        /// The password, which may be empty.
        password: String,
    },
    /// `Bearer` (RFC 6750): the token.
    Bearer(&'a str),
}

impl fmt::Debug for Credentials<'_> {
    /// Secrets do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { user, .. } => write!(f, "Basic({user:?})"),
            Self::Bearer(_) => f.write_str("Bearer"),
        }
    }
}

/// Where [`Head::access_token`] looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenFrom<'n> {
    /// `Authorization: Bearer`.
    Header,
    /// The cookie of this name. A page of another site can make a browser send it: beware of forged requests.
    Cookie(&'n str),
    /// The query variable of this name. It ends up in logs and histories.
    Query(&'n str),
}

/// The value of an Authorization header for these credentials (RFC 7617 §2). None where the user id holds a colon or
/// either a control character, which the scheme cannot carry.
///
/// ```
/// use vansire::http::basic_auth;
///
/// assert_eq!(basic_auth("Aladdin", "open sesame").as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
/// ```
pub fn basic_auth(user: &str, password: &str) -> Option<String> {
    let is_legal = !user.contains(':') && !user.chars().chain(password.chars()).any(char::is_control);
    is_legal.then(|| format!("Basic {}", base64::encode(format!("{user}:{password}").as_bytes())))
}

impl<'a> Head<'a> {
    /// The parameter of the first header of that name: see [`param`].
    pub fn header_param(&self, header: &str, name: &str) -> Option<Cow<'a, str>> {
        param(self.header(header)?, name)
    }

    /// The cookies in their order, as they were set: values are not decoded (RFC 6265 §4.2).
    pub fn cookies(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.header_all("cookie")
            .filter_map(|value| str::from_utf8(value).ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t'])))
            .filter(|(name, _)| !name.is_empty())
    }

    /// The first cookie of this name. Names are case-sensitive.
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        self.cookies().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The credentials of the Authorization header. None where it is missing, repeated, malformed, or of another scheme.
    pub fn credentials(&self) -> Option<Credentials<'a>> {
        let mut values = self.header_all("authorization");
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let (scheme, rest) = str::from_utf8(value).ok()?.split_once(' ')?;
        let rest = rest.trim_start_matches(' ');
        if scheme.eq_ignore_ascii_case("basic") {
            let text = String::from_utf8(base64::decode(rest.as_bytes())?).ok()?;
            let (user, password) = text.split_once(':').filter(|_| !text.contains(char::is_control))?;
            return Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() });
        }
        let is_bearer = scheme.eq_ignore_ascii_case("bearer") && is_token68(rest);
        is_bearer.then_some(Credentials::Bearer(rest))
    }

    /// The access token from the first of these places that has one. Fails where a query variable cannot be decoded.
    pub fn access_token(&self, places: &[TokenFrom<'_>]) -> Result<Option<Cow<'a, str>>, BadEscape> {
        for place in places {
            let token = match place {
                TokenFrom::Header => match self.credentials() {
                    Some(Credentials::Bearer(token)) => Some(Cow::Borrowed(token)),
                    Some(Credentials::Basic { .. }) | None => None,
                },
                TokenFrom::Cookie(name) => self.cookie(name).map(Cow::Borrowed),
                TokenFrom::Query(name) => self.query(name)?,
            };
            if token.is_some() {
                return Ok(token);
            }
        }
        Ok(None)
    }
}

/// RFC 9110 §11.2.
fn is_token68(text: &str) -> bool {
    let token = text.trim_end_matches('=');
    !token.is_empty()
        && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::super::head::{HeadLimits, HeaderSpace, Scan, parse};
    use super::*;

    type Found<'a> = Result<Option<&'a str>, BadEscape>;

    fn with_head<R>(target: &str, headers: &str, ask: impl FnOnce(&Head<'_>) -> R) -> R {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let mut space = HeaderSpace::new();
        let parsed = parse(bytes.as_bytes(), &mut Scan::default(), &HeadLimits::default(), &mut space);
        ask(&parsed.unwrap().unwrap().0)
    }

    #[test]
    fn e3_a_parameter_is_found_and_unquoted() {
        let table = [
            ("plain", "text/html; charset=utf-8", Some("utf-8")),
            ("no space", "text/html;charset=utf-8", Some("utf-8")),
            ("any case", "text/html; CharSet=UTF-8", Some("UTF-8")),
            ("quoted", "text/html; charset=\"utf-8\"", Some("utf-8")),
            ("escapes", r#"text/html; charset="a\"\\b;\c""#, Some("a\"\\b;c")),
            ("empty quotes", "text/html; charset=\"\"", Some("")),
            ("second", "text/html; a=b; charset=c; charset=d", Some("c")),
            ("after a quoted semicolon", "text/html; a=\"; charset=x\"; charset=y", Some("y")),
            ("after an escaped quote", r#"text/html; a="\"; charset=x"; charset=y"#, Some("y")),
            ("after a bare name", "text/html; a; charset=y", Some("y")),
            ("after empty ones", "text/html;; ;charset=y", Some("y")),
            ("UTF-8", "a; charset=\"ü\\ü\"", Some("üü")),
            ("missing", "text/html; a=b", None),
            ("no parameters", "text/html", None),
            ("the value itself", "charset=utf-8", None),
            ("longer name", "a; xcharset=b", None),
            ("empty", "a; charset=", None),
            ("space around =", "a; charset = b", None),
            ("open quotes", "a; charset=\"b", None),
            ("open escape", "a; charset=\"b\\", None),
        ];
        for (name, value, expected) in table {
            assert_eq!(param(value, "charset").as_deref(), expected, "{name}");
        }
        with_head("/", "Content-Type: a/b; charset=c\r\n", |head| {
            assert_eq!(head.header_param("content-type", "charset").as_deref(), Some("c"));
            assert_eq!(head.header_param("accept", "charset"), None);
        });
    }

    #[test]
    fn rfc_6265_cookies_are_split_and_left_as_they_were_set() {
        with_head("/", "Cookie: a=1; b=x=y;c=\"q\"; d=; junk; =e\r\nCookie: f=%20\r\n", |head| {
            let cookies: Vec<_> = head.cookies().collect();
            assert_eq!(cookies, [("a", "1"), ("b", "x=y"), ("c", "\"q\""), ("d", ""), ("f", "%20")]);
            assert_eq!((head.cookie("b"), head.cookie("B"), head.cookie("g")), (Some("x=y"), None, None));
        });
        with_head("/", "", |head| assert_eq!(head.cookies().count(), 0));
    }

    #[test]
    fn e31_credentials_are_read_as_rfc_7617_and_rfc_6750_write_them() {
        let basic =
            |user: &str, password: &str| Some(Credentials::Basic { user: user.into(), password: password.into() });
        let table = [
            ("the RFC's own", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", basic("Aladdin", "open sesame")),
            (
                "any case, more spaces",
                "authorization: bASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n",
                basic("Aladdin", "open sesame"),
            ),
            ("UTF-8", "Authorization: Basic dGVzdDoxMjPCow==\r\n", basic("test", "123\u{a3}")),
            ("empty password", "Authorization: Basic dXNlcjo=\r\n", basic("user", "")),
            ("colons in the password", "Authorization: Basic YTpiOmM=\r\n", basic("a", "b:c")),
            ("no colon", "Authorization: Basic dXNlcg==\r\n", None),
            ("no padding", "Authorization: Basic dXNlcjo\r\n", None),
            ("not Base64", "Authorization: Basic user:password\r\n", None),
            ("not UTF-8", "Authorization: Basic /zo=\r\n", None),
            ("control character", "Authorization: Basic YQo6Yg==\r\n", None),
            ("bearer", "Authorization: Bearer a.b-c_d~e+f/0==\r\n", Some(Credentials::Bearer("a.b-c_d~e+f/0=="))),
            ("bearer with a space", "Authorization: Bearer a b\r\n", None),
            ("bearer without token", "Authorization: Bearer \r\n", None),
            ("another scheme", "Authorization: Digest a=b\r\n", None),
            ("twice", "Authorization: Bearer a\r\nAuthorization: Bearer a\r\n", None),
            ("none", "", None),
        ];
        for (name, headers, expected) in table {
            with_head("/", headers, |head| assert_eq!(head.credentials(), expected, "{name}"));
        }
    }

    #[test]
    fn e31_a_token_comes_from_the_places_that_were_asked_for() {
        use TokenFrom::*;
        let all = [Header, Cookie("access_token"), Query("access_token")];
        let (bearer, cookie) = ("Authorization: Bearer h\r\n", "Cookie: access_token=c\r\n");
        let table: [(&str, String, &[TokenFrom<'_>], Found<'_>); 7] = [
            ("/?access_token=q", format!("{cookie}{bearer}"), &all, Ok(Some("h"))),
            ("/?access_token=q", cookie.to_owned(), &all, Ok(Some("c"))),
            ("/?access_token=q%20", String::new(), &all, Ok(Some("q "))),
            ("/?access_token=q%2", String::new(), &all, Err(BadEscape::NotHex)),
            ("/?access_token=q", cookie.to_owned(), &[Header], Ok(None)),
            ("/?access_token=q", format!("{cookie}{bearer}"), &[Query("access_token")], Ok(Some("q"))),
            ("/", "Authorization: Basic dXNlcjo=\r\n".to_owned(), &all, Ok(None)),
        ];
        for (target, headers, places, expected) in &table {
            with_head(target, headers, |head| {
                let token = head.access_token(places);
                assert_eq!(token.as_ref().map(Option::as_deref), expected.as_ref().copied(), "{target} {headers}");
            });
        }
    }

    #[test]
    fn e31_basic_auth_is_built_as_rfc_7617_reads_it() {
        let table = [
            ("user@ex", "p@ss:word!", Some("Basic dXNlckBleDpwQHNzOndvcmQh")),
            ("user", "", Some("Basic dXNlcjo=")),
            ("", "", Some("Basic Og==")),
            ("test", "123\u{a3}", Some("Basic dGVzdDoxMjPCow==")),
            ("a:b", "c", None),
            ("a", "b\n", None),
        ];
        for (user, password, expected) in table {
            assert_eq!(basic_auth(user, password).as_deref(), expected, "{user}:{password}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let basic = Credentials::Basic { user: "u".into(), password: "secret".into() };
        assert_eq!(format!("{basic:?} {:?}", Credentials::Bearer("secret")), "Basic(\"u\") Bearer");
    }
}
