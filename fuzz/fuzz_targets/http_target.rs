//! What stands in targets, forms and header values is read as a plain reader reads it, and what is encoded is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vansire::http::head::{HeaderSpace, Scan, parse};
use vansire::http::{
    Credentials, HeadLimits, Pairs, Request, TokenFrom, basic_auth, form_encode, glob, param, percent_decode,
    percent_encode,
};

// A target, a header value, and a pattern that is also the body.
fuzz_target!(|input: (&str, &str, &str)| {
    let (target, value, pattern) = input;
    assert_eq!(percent_decode(&percent_encode(value)).as_deref(), Ok(value));
    assert_eq!(percent_decode(target).ok().as_deref(), decoded(target).as_deref());
    assert_eq!(pairs(Pairs::new(target)), by_hand(target));
    let encoded = form_encode([(value, pattern), (pattern, value)]);
    assert_eq!(
        pairs(Pairs::new(&encoded)),
        [[value, pattern], [pattern, value]].map(|pair| Some(pair.map(String::from)))
    );
    if let Some(Ok((name, value))) = Pairs::new(target).next() {
        assert_eq!(Pairs::new(target).find(&name), Ok(Some(value)));
    }
    let _ = param(value, "a");
    let quoted = format!("x; a=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    assert_eq!(param(&quoted, "A").as_deref(), Some(value));
    if pattern.len() < 64 {
        let captures = glob(pattern, target);
        assert_eq!(captures.as_ref().map(|captures| captures.as_slice()), by_table(pattern, target).as_deref());
    }

    if let Some(basic) = basic_auth(target, pattern) {
        with_request("/", &basic, b"", |request| {
            let back = Credentials::Basic { user: target.into(), password: pattern.into() };
            assert!(request.credentials() == Some(back));
        });
    }
    with_request(target, value, pattern.as_bytes(), |request| {
        let path = request.raw_path();
        assert!(path == "/" || target.contains(path));
        assert_eq!(request.path().ok().as_deref(), decoded(path).filter(|path| !path.contains('\0')).as_deref());
        if let Some(local) = target.strip_prefix('/') {
            assert_eq!(request.query_string(), local.split_once('?').map(|(_, query)| query));
        }
        assert_eq!(request.form_pairs().map(pairs), Ok(by_hand(pattern)));
        match request.credentials() {
            // There is one encoding for each.
            Some(Credentials::Basic { user, password }) => {
                let again = basic_auth(&user, &password).expect("what was read can be written");
                assert!(value.trim_end_matches([' ', '\t']).ends_with(&again["Basic ".len()..]));
            }
            Some(Credentials::Bearer(token)) => assert!(!token.is_empty() && value.contains(token)),
            _ => {}
        }
        assert!(
            request.cookies().all(|(name, cookie)| !name.is_empty() && value.contains(name) && value.contains(cookie))
        );
        let _ = (request.query("a"), request.form("a"));
        let _ = request.access_token(&[TokenFrom::Header, TokenFrom::Cookie("a"), TokenFrom::Query("a")]);
    });
});

/// What the parser lets through, with the value as cookies and as credentials.
fn with_request(target: &str, value: &str, body: &[u8], check: impl FnOnce(Request<'_>)) {
    let form = "Content-Type: application/x-www-form-urlencoded";
    let bytes =
        format!("GET {target} HTTP/1.1\r\nHost: a\r\n{form}\r\nCookie: {value}\r\nAuthorization: {value}\r\n\r\n");
    let mut space = HeaderSpace::new();
    let parsed = parse(bytes.as_bytes(), &mut Scan::default(), &HeadLimits::default(), &mut space);
    if let Ok(Some((head, used))) = parsed
        && used == bytes.len()
        && head.target() == target
        && head.headers().count() == 4
    {
        check(Request::new(head, body, None));
    }
}

type Pair = Option<[String; 2]>;

fn pairs(found: Pairs<'_>) -> Vec<Pair> {
    found.map(|pair| pair.ok().map(|(name, value)| [name.into_owned(), value.into_owned()])).collect()
}

fn by_hand(text: &str) -> Vec<Pair> {
    let all = text.split('&').filter(|pair| !pair.is_empty());
    all.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some([decoded(&name.replace('+', " "))?, decoded(&value.replace('+', " "))?])
    })
    .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

/// What the wildcards stand for, by a table of which ends of the pattern match which ends of the text. At most as many as are kept.
fn by_table<'t>(pattern: &str, text: &'t str) -> Option<Vec<&'t str>> {
    let pattern: Vec<char> = pattern.chars().collect();
    let chars: Vec<char> = text.chars().collect();
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut fits = vec![vec![false; chars.len() + 1]; pattern.len() + 1];
    fits[pattern.len()][chars.len()] = true;
    for (at, wanted) in pattern.iter().enumerate().rev() {
        for from in (0..=chars.len()).rev() {
            let next = chars.get(from);
            fits[at][from] = match wanted {
                '*' => fits[at + 1][from] || next.is_some_and(|next| *next != '/') && fits[at][from + 1],
                '#' => fits[at + 1][from] || next.is_some() && fits[at][from + 1],
                '?' => next.is_some() && fits[at + 1][from + 1],
                _ => next == Some(wanted) && fits[at + 1][from + 1],
            };
        }
    }
    if !fits[0][0] {
        return None;
    }
    let mut captures = Vec::new();
    let mut end = 0;
    for (at, wanted) in pattern.iter().enumerate() {
        let start = end;
        match wanted {
            '*' | '#' => end += fits[at + 1][start..].iter().position(|fits| *fits)?,
            _ => end += 1,
        }
        if matches!(wanted, '*' | '#' | '?') {
            captures.push(&text[places[start]..places[end]]);
        }
    }
    captures.truncate(20);
    Some(captures)
}
