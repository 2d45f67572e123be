//! What stands in targets and header values never panics, and encoding is undone by decoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vansire::proto::http::head::{HeaderSpace, Scan, parse};
use vansire::proto::http::{HeadLimits, Pairs, Request, TokenFrom, glob, param, percent_decode, percent_encode};

fuzz_target!(|input: (String, String, String)| {
    let (target, value, pattern) = input;
    assert_eq!(percent_decode(&percent_encode(&value)).as_deref(), Ok(&*value));
    let _ = percent_decode(&target);
    let pairs: Vec<_> = Pairs::new(&target).collect();
    if let Some(Ok((name, value))) = pairs.first() {
        assert_eq!(Pairs::new(&target).find(name).ok().flatten().as_ref(), Some(value));
    }
    let _ = param(&value, "a");
    if pattern.len() < 64
        && let Some(captures) = glob(&pattern, &target)
    {
        assert!(captures.as_slice().iter().all(|text| target.contains(text)));
    }

    let bytes = format!("GET {target} HTTP/1.1\r\nHost: {value}\r\nCookie: {value}\r\nAuthorization: {value}\r\n\r\n");
    let mut space = HeaderSpace::new();
    let Ok(Some((head, _))) = parse(bytes.as_bytes(), &mut Scan::default(), &HeadLimits::default(), &mut space) else {
        return;
    };
    let request = Request::new(head, value.as_bytes(), None);
    let _ = (request.path(), request.query("a"), request.credentials(), request.cookies().count(), request.form("a"));
    let _ = request.access_token(&[TokenFrom::Header, TokenFrom::Cookie("a"), TokenFrom::Query("a")]);
    assert!(request.raw_path().len() <= target.len().max(1));
});
