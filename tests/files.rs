//! Files over real sockets: folders, single files, embedded sets. Cases F1 to F9 of the reference.

mod common;
mod http_support;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::{TempDir, pattern};
use http_support::{Cx, Reply, Server, serve, serve_within};
use vansire::files::{Dir, Embedded, Links, Options, serve_file};
use vansire::{Event, Limits};

/// A folder, with files that are old enough to have strong tags.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let site = Self { folder: TempDir::new() };
        fs::create_dir_all(site.root()).unwrap();
        files.iter().for_each(|(name, content)| site.write(name, content));
        site
    }

    /// What is served.
    fn root(&self) -> std::path::PathBuf {
        self.folder.path("www")
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        age(&path, 3600);
    }

    fn serve(&self, options: Options) -> Server {
        let dir = Dir::with(self.root(), options).unwrap();
        serve(move |cx: &mut Cx<'_>, ev: Event<'_>| {
            if let Event::HttpRequest(request) = ev {
                let served = dir.serve(cx, request);
                cx.state.push(format!("{} {}", served.status, served.len));
            }
        })
    }
}

/// Makes a file as many seconds old.
fn age(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

fn get(server: &mut Server, path: &str, headers: &str) -> Reply {
    ask(server, "GET", path, headers)
}

fn ask(server: &mut Server, method: &str, path: &str, headers: &str) -> Reply {
    let mut client = server.connect();
    server.ask(&mut client, format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n").as_bytes())
}

#[test]
fn f1_files_come_whole_with_their_types_and_headers() {
    let binary: Vec<u8> = (0..=255).collect();
    let large = pattern(300_000);
    let site = Site::new(&[
        ("a.txt", b"text"),
        ("bytes.bin", &binary),
        ("nested/deep/page.html", b"<p>"),
        ("a b/\u{e9}.json", b"{}"),
        ("empty.css", b""),
        ("x.own", b"own"),
        ("eight-k.js", &large[..8 * 1024]),
        ("more.js", &large[..8 * 1024 + 1]),
        ("large.iso", &large),
    ]);
    let mut server = site.serve(Options::new().mime("own", "x/own").header("X-Extra", "1").header("X-Extra", "2"));
    let table: [(&str, &[u8], &str); 9] = [
        ("/a.txt", b"text", "text/plain; charset=utf-8"),
        ("/bytes.bin", &binary, "application/octet-stream"),
        ("/nested/deep/page.html", b"<p>", "text/html; charset=utf-8"),
        ("/a%20b/%C3%A9.json", b"{}", "application/json"),
        ("/empty.css", b"", "text/css; charset=utf-8"),
        ("/x.own", b"own", "x/own"),
        ("/eight-k.js", &large[..8 * 1024], "text/javascript; charset=utf-8"),
        ("/more.js", &large[..8 * 1024 + 1], "text/javascript; charset=utf-8"),
        ("/large.iso", &large, "application/octet-stream"),
    ];
    // The second time from memory, where it is small enough.
    for round in 0..2 {
        for (path, content, content_type) in table {
            let reply = get(&mut server, path, "");
            assert_eq!(reply.status, 200, "{path} {round}");
            assert!(reply.body == content, "{path} {round}: {} bytes", reply.body.len());
            assert_eq!(reply.header("content-type"), Some(content_type), "{path}");
            assert_eq!(reply.header_all("x-extra"), ["1", "2"], "{path}");
            assert!(
                reply.header("etag").unwrap().starts_with('"') && reply.header("last-modified").is_some(),
                "{path}"
            );
            assert_eq!(reply.header("accept-ranges"), Some("bytes"), "{path}");
            assert_eq!(reply.header("vary"), None, "{path}");
            let head = ask(&mut server, "HEAD", path, "");
            assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
            let len = content.len().to_string();
            for name in ["content-type", "etag", "last-modified"] {
                assert_eq!(head.header(name), reply.header(name), "{path} {name}");
            }
            assert_eq!(head.header("content-length"), Some(&*len), "{path}");
        }
    }
    assert_eq!(server.count("200 300000"), 2);
    let mut server = site.serve(Options::new().mime("*", "all/same"));
    assert_eq!(get(&mut server, "/a.txt", "").header("content-type"), Some("all/same"));
}

#[test]
fn f2_what_is_missing_is_404_with_a_page_of_its_own() {
    let site = Site::new(&[("404.html", b"<h1>gone</h1>"), ("a.txt", b"x")]);
    let reply = get(&mut site.serve(Options::new()), "/nope", "");
    assert_eq!((reply.status, &reply.body[..]), (404, &b"Not found.\n"[..]));
    let mut server = site.serve(Options::new().not_found("404.html").header("X-Extra", "1"));
    for (method, headers) in
        [("GET", ""), ("GET", "Range: bytes=0-0\r\n"), ("GET", "If-None-Match: *\r\n"), ("HEAD", "")]
    {
        let reply = ask(&mut server, method, "/nope", headers);
        assert_eq!((reply.status, reply.header("x-extra")), (404, Some("1")), "{method} {headers}");
        assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(reply.body, if method == "HEAD" { &b""[..] } else { b"<h1>gone</h1>" });
        assert!(reply.header("etag").is_none() && reply.header("accept-ranges").is_none());
    }
    assert_eq!(get(&mut server, "/a.txt/", "").status, 404);
    // Checked when it is opened, and not relied upon.
    assert!(Dir::with(site.root(), Options::new().not_found("not-there.html")).unwrap_err().is_bad_value());
    fs::remove_file(site.root().join("404.html")).unwrap();
    assert_eq!(get(&mut server, "/nope", "").body, b"Not found.\n");
}

#[test]
fn f3_nothing_outside_of_the_folder_is_served() {
    let site = Site::new(&[
        ("a.txt", b"text"),
        ("docs/index.html", b"docs"),
        (".env", b"hidden"),
        (".git/config", b"hidden"),
        (".well-known/x.txt", b"public"),
        ("%2e%2e", b"odd"),
        ("back\\slash", b"odd"),
    ]);
    fs::write(site.folder.path("secret.txt"), "secret").unwrap();
    // Its name begins with the folder's.
    fs::create_dir(site.folder.path("www-2")).unwrap();
    fs::write(site.folder.path("www-2/secret.txt"), "secret").unwrap();
    let mut server = site.serve(Options::new());
    let absolute = format!("/{}", site.folder.path("secret.txt").display());
    let long = format!("/{}", "x".repeat(300));
    let deep = "/docs".repeat(500);
    let table = [
        ("/a.txt", 200),
        ("/a.txt?../secret.txt", 200),
        ("/docs/", 200),
        ("/.well-known/x.txt", 200),
        ("/../secret.txt", 404),
        ("/docs/../../secret.txt", 404),
        ("/docs/../a.txt", 404),
        ("/./a.txt", 404),
        ("/docs/./index.html", 404),
        ("//a.txt", 404),
        ("//", 404),
        ("/docs//index.html", 404),
        ("/.%2e/secret.txt", 404),
        ("/%2e./secret.txt", 404),
        ("/%2e%2e/secret.txt", 404),
        ("/%2E%2E/secret.txt", 404),
        ("/%2e%2e%2fsecret.txt", 404),
        ("/..%2fsecret.txt", 404),
        ("/..%2Fsecret.txt", 404),
        ("/docs%2findex.html", 404),
        ("/%2fetc%2fpasswd", 404),
        ("/..%5csecret.txt", 404),
        ("/..%5Csecret.txt", 404),
        ("/back%5cslash", 404),
        ("/%252e%252e/secret.txt", 404),
        ("/%252e%252e", 404),
        ("/..%252fsecret.txt", 404),
        ("/%c0%ae%c0%ae/secret.txt", 400),
        ("/%e0%80%ae/secret.txt", 400),
        ("/%u002e%u002e/secret.txt", 400),
        ("/%", 400),
        ("/a.txt%00", 404),
        ("/a.txt%00.png", 404),
        ("/a.txt%0d%0a", 404),
        ("/..;/secret.txt", 404),
        ("/.../secret.txt", 404),
        ("/www-2/secret.txt", 404),
        ("/../www-2/secret.txt", 404),
        ("/../www/a.txt", 404),
        ("/.env", 404),
        ("/%2eenv", 404),
        ("/.git/config", 404),
        ("/.git/", 404),
        ("/a.txt/", 404),
        ("/a.txt/x", 404),
        ("/A.TXT", 404),
        ("http://a/../secret.txt", 404),
        (&absolute, 404),
        (&long, 404),
        (&deep, 404),
    ];
    for (path, expected) in table {
        let reply = get(&mut server, path, "");
        assert_eq!(reply.status, expected, "{path:.60}");
        assert!(!reply.text().contains("secret") && !reply.text().contains("hidden"), "{path:.60}");
    }
    let mut server = site.serve(Options::new().hidden(true));
    assert_eq!(get(&mut server, "/.env", "").text(), "hidden");
    assert_eq!(get(&mut server, "/../secret.txt", "").status, 404);
}

#[cfg(target_os = "linux")]
#[test]
fn f3_a_link_may_not_lead_out_of_the_folder() {
    use std::os::unix::fs::symlink;
    let site = Site::new(&[("a.txt", b"text"), ("docs/b.txt", b"text"), ("bare/x", b"")]);
    fs::write(site.folder.path("secret.txt"), "secret").unwrap();
    let root = site.root();
    let absolute = site.folder.path("secret.txt");
    for (target, link) in [
        (Path::new("../secret.txt"), "relative.txt"),
        (&absolute, "absolute.txt"),
        (Path::new(".."), "up"),
        (Path::new("docs"), "folder"),
        (Path::new("a.txt"), "inside.txt"),
        (Path::new("../a.txt"), "docs/back.txt"),
        (Path::new("../www/a.txt"), "around.txt"),
        (Path::new("loop"), "loop"),
        (Path::new("nowhere"), "dangling"),
        (Path::new("../../secret.txt"), "bare/index.html"),
        (Path::new("/proc/self/root"), "magic"),
        (Path::new("../secret.txt"), "a.txt.gz"),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    let table = [
        ("/inside.txt", 200, 403),
        ("/docs/back.txt", 200, 403),
        ("/folder/b.txt", 200, 403),
        ("/folder", 301, 403),
        ("/relative.txt", 403, 403),
        ("/absolute.txt", 403, 403),
        ("/up", 403, 403),
        ("/up/", 403, 403),
        ("/up/secret.txt", 403, 403),
        // It comes back, but has been outside.
        ("/around.txt", 403, 403),
        ("/up/www/a.txt", 403, 403),
        ("/loop", 403, 403),
        ("/dangling", 404, 403),
        ("/bare/", 403, 403),
        ("/magic/etc/passwd", 403, 403),
    ];
    for (links, at) in [(Links::Inside, 1), (Links::Never, 2)] {
        let mut server = site.serve(Options::new().links(links));
        for (path, inside, never) in table {
            let reply = get(&mut server, path, "");
            assert_eq!(reply.status, if at == 1 { inside } else { never }, "{path} {links:?}");
            assert!(!reply.text().contains("secret"), "{path}");
        }
        // An encoded sibling is a name like another.
        let reply = get(&mut server, "/a.txt", "Accept-Encoding: gzip\r\n");
        assert_eq!((reply.text().as_str(), reply.header("content-encoding")), ("text", None));
        let mut listing = site.serve(Options::new().links(links).listing(true));
        let page = get(&mut listing, "/", "").text();
        assert!(page.contains("docs/") && !page.contains("relative") && !page.contains(">up"), "{page}");
        assert_eq!(page.contains("inside.txt"), links == Links::Inside, "{page}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused_and_waited_for_by_nobody() {
    let site = Site::new(&[("a.txt", b"text")]);
    let made = std::process::Command::new("mkfifo").arg(site.root().join("fifo")).status().unwrap();
    assert!(made.success());
    let _listener = std::os::unix::net::UnixListener::bind(site.root().join("socket")).unwrap();
    let mut server = site.serve(Options::new().listing(true));
    assert_eq!(get(&mut server, "/fifo", "").status, 403);
    assert_eq!(get(&mut server, "/socket", "").status, 403);
    let page = get(&mut server, "/", "").text();
    assert!(page.contains("a.txt") && !page.contains("fifo") && !page.contains("socket"), "{page}");
}

#[test]
fn f4_a_folder_has_a_slash_an_index_or_a_listing() {
    let site = Site::new(&[
        ("docs/index.html", b"docs"),
        ("htm/index.htm", b"htm"),
        ("bare/<b>&.txt", b"x"),
        ("bare/sub/x", b""),
        ("a b/x", b""),
    ]);
    let mut server = site.serve(Options::new().index(["index.html", "index.htm"]));
    let table = [
        ("/docs", 301, Some("/docs/")),
        ("/docs?a=b&c", 301, Some("/docs/?a=b&c")),
        ("/a%20b", 301, Some("/a%20b/")),
        ("http://a/docs", 301, Some("/docs/")),
        ("/docs/", 200, None),
        ("/docs/index.html", 200, None),
        ("/htm/", 200, None),
        ("/bare/", 403, None),
        ("/", 403, None),
        ("//docs", 404, None),
    ];
    for (path, status, location) in table {
        let reply = get(&mut server, path, "");
        assert_eq!((reply.status, reply.header("location")), (status, location), "{path}");
    }
    assert_eq!(get(&mut server, "/htm/", "").header("content-type"), Some("text/html; charset=utf-8"));

    let mut server = site.serve(Options::new().listing(true).header("X-Extra", "1"));
    let reply = get(&mut server, "/bare/", "");
    let page = reply.text();
    assert_eq!((reply.status, reply.header("x-extra")), (200, Some("1")));
    assert!(page.contains("&lt;b&gt;&amp;.txt") && page.contains("href=\"./%3Cb%3E%26.txt\""), "{page}");
    assert!(page.contains("href=\"./sub/\"") && !page.contains("<b>"), "{page}");
    assert_eq!(get(&mut server, "/bare/%3Cb%3E%26.txt", "").text(), "x");
    assert_eq!(ask(&mut server, "HEAD", "/bare/", "").body, b"");
}

#[test]
fn a_listing_is_headed_by_the_path_that_was_asked_for() {
    let site = Site::new(&[("a b/sub/x", b"")]);
    let table = [
        ("", "/", "/", false),
        ("", "/a%20b/", "/a b/", true),
        ("/l/", "/l/", "/l/", false),
        ("/l/", "/l/a%20b/", "/l/a b/", true),
        ("/l/m", "/l/m/a%20b/sub/", "/l/m/a b/sub/", true),
    ];
    for (prefix, path, heading, has_parent) in table {
        let mut server = site.serve(Options::new().prefix(prefix).listing(true));
        let page = get(&mut server, path, "").text();
        assert!(page.contains(&format!("<title>{heading}</title>")), "{path}: {page}");
        assert!(page.contains(&format!("<h1>{heading}</h1>")), "{path}: {page}");
        assert_eq!(page.contains("href=\"../\""), has_parent, "{path}: {page}");
    }
}

#[test]
fn a_prefix_is_taken_off_the_path() {
    let site = Site::new(&[("a.txt", b"text"), ("index.html", b"index"), ("docs/x", b"x")]);
    let mut server = site.serve(Options::new().prefix("/static/"));
    let table = [
        ("/static/a.txt", 200, None),
        ("/static/", 200, None),
        ("/static", 301, Some("/static/")),
        ("/static?x", 301, Some("/static/?x")),
        ("/static/docs", 301, Some("/static/docs/")),
        ("/a.txt", 404, None),
        ("/staticky/a.txt", 404, None),
        ("/static/../a.txt", 404, None),
        ("/static/static/a.txt", 404, None),
        ("/%73tatic/a.txt", 200, None),
    ];
    for (path, status, location) in table {
        let reply = get(&mut server, path, "");
        assert_eq!((reply.status, reply.header("location")), (status, location), "{path}");
    }
}

#[test]
fn f5_what_the_client_has_is_not_sent_again() {
    let site = Site::new(&[("a.txt", b"text"), ("large.bin", &pattern(300_000))]);
    let mut server = site.serve(Options::new().header("Cache-Control", "max-age=60"));
    for path in ["/a.txt", "/large.bin"] {
        let reply = get(&mut server, path, "");
        let (etag, modified) = (reply.header("etag").unwrap(), reply.header("last-modified").unwrap());
        let table = [
            (format!("If-None-Match: {etag}\r\n"), 304),
            (format!("If-None-Match: W/{etag}\r\n"), 304),
            (format!("If-None-Match: \"x\", {etag}\r\n"), 304),
            ("If-None-Match: *\r\n".into(), 304),
            ("If-None-Match: \"x\"\r\n".into(), 200),
            (format!("If-Modified-Since: {modified}\r\n"), 304),
            ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".into(), 200),
            (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {modified}\r\n"), 200),
            (format!("If-None-Match: {etag}\r\nRange: bytes=0-0\r\n"), 304),
            (format!("If-Match: {etag}\r\n"), 200),
            ("If-Match: \"x\"\r\n".into(), 412),
            ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".into(), 412),
        ];
        for (headers, status) in table {
            for method in ["GET", "HEAD"] {
                let reply = ask(&mut server, method, path, &headers);
                assert_eq!(reply.status, status, "{method} {path} {headers}");
                if status == 304 {
                    // RFC 9110 §15.4.5: what a 200 would have said of the representation and its caching.
                    assert_eq!(reply.header("etag"), Some(etag), "{headers}");
                    assert_eq!(reply.header("cache-control"), Some("max-age=60"), "{headers}");
                    assert_eq!(reply.header("content-length"), None, "{headers}");
                }
            }
        }
    }
    assert_eq!(server.count("304 0"), 24);
}

#[test]
fn f6_parts_of_a_file_come_as_they_were_asked_for() {
    let content = pattern(300_000);
    let site = Site::new(&[("small.bin", &content[..312]), ("large.bin", &content), ("empty", b"")]);
    let mut server = site.serve(Options::new().header("X-Extra", "1"));
    let table: &[(&str, u16, std::ops::Range<usize>)] = &[
        ("5-10", 206, 5..11),
        ("300-", 206, 300..312),
        ("-5", 206, 307..312),
        ("0-0", 206, 0..1),
        ("5-999", 206, 5..312),
        ("-999", 206, 0..312),
        ("999-", 416, 0..0),
        ("-0", 416, 0..0),
        ("5-4", 200, 0..312),
        ("x", 200, 0..312),
        ("0-9,999-", 206, 0..10),
        ("0-,0-,0-", 200, 0..312),
    ];
    for (range, status, expected) in table {
        let reply = get(&mut server, "/small.bin", &format!("Range: bytes={range}\r\n"));
        assert_eq!(reply.status, *status, "{range}");
        let told = match status {
            206 => Some(format!("bytes {}-{}/312", expected.start, expected.end - 1)),
            416 => Some("bytes */312".into()),
            _ => None,
        };
        assert_eq!(reply.header("content-range"), told.as_deref(), "{range}");
        if *status != 416 {
            assert!(reply.body == content[expected.clone()], "{range}");
            assert_eq!(reply.header("x-extra"), Some("1"));
        }
        // RFC 9110 §14.2: a Range is for GET.
        let head = ask(&mut server, "HEAD", "/small.bin", &format!("Range: bytes={range}\r\n"));
        assert_eq!((head.status, head.header("content-length")), (200, Some("312")), "{range}");
    }
    let reply = get(&mut server, "/large.bin", "Range: bytes=100000-199999\r\n");
    assert!(reply.status == 206 && reply.body == content[100_000..200_000]);
    assert_eq!(get(&mut server, "/empty", "Range: bytes=0-\r\n").status, 416);
    assert_eq!(get(&mut server, "/small.bin", "Range: bytes=0-0\r\nRange: bytes=0-0\r\n").status, 200);
    let etag = reply.header("etag").unwrap();
    for (if_range, status) in [(etag, 206), ("\"x\"", 200), (reply.header("last-modified").unwrap(), 206)] {
        let headers = format!("Range: bytes=0-0\r\nIf-Range: {if_range}\r\n");
        assert_eq!(get(&mut server, "/large.bin", &headers).status, status, "{if_range}");
    }
}

#[test]
fn f6_rfc_9110_14_6_several_parts_come_in_one_multipart_body() {
    let content = pattern(300_000);
    let site = Site::new(&[("small.bin", &content[..3000]), ("large.bin", &content)]);
    let mut server = site.serve(Options::new());
    for (path, len) in [("/small.bin", 3000), ("/large.bin", 300_000)] {
        let reply = get(&mut server, path, "Range: bytes=0-9, 100-1099, -7\r\n");
        assert_eq!((reply.status, reply.header("content-range")), (206, None));
        let content_type = reply.header("content-type").unwrap();
        let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let mut expected = Vec::new();
        for range in [0..10, 100..1100, len - 7..len] {
            expected.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
            expected.extend_from_slice(b"Content-Type: application/octet-stream\r\n");
            let told = format!("Content-Range: bytes {}-{}/{len}\r\n\r\n", range.start, range.end - 1);
            expected.extend_from_slice(told.as_bytes());
            expected.extend_from_slice(&content[range]);
        }
        expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        assert!(reply.body == expected, "{}", reply.text());
        let again = get(&mut server, path, "Range: bytes=0-9, 100-1099, -7\r\n");
        assert_ne!(again.header("content-type"), Some(content_type), "a boundary that can be known beforehand");
    }
}

#[test]
fn f7_an_encoded_sibling_comes_to_who_accepts_it() {
    let site = Site::new(&[
        ("app.js", b"plain"),
        ("app.js.gz", b"gzip"),
        ("app.js.br", b"brotli"),
        ("only.css", b"plain"),
        ("only.css.zst", b"zstd"),
        ("none.txt", b"plain"),
        ("index.html", b"index"),
        ("index.html.gz", b"index, gzip"),
        ("orphan.js.gz", b"x"),
    ]);
    let mut server = site.serve(Options::new());
    let table = [
        ("/app.js", "", "plain", None),
        ("/app.js", "gzip", "gzip", Some("gzip")),
        ("/app.js", "gzip, br, zstd", "brotli", Some("br")),
        ("/app.js", "br;q=0.1, gzip", "gzip", Some("gzip")),
        ("/app.js", "gzip;q=0", "plain", None),
        ("/only.css", "gzip, br", "plain", None),
        ("/only.css", "*", "zstd", Some("zstd")),
        ("/", "gzip", "index, gzip", Some("gzip")),
    ];
    let mut tags = std::collections::BTreeSet::new();
    for (path, accept, body, coding) in table {
        for method in ["GET", "HEAD", "GET"] {
            let reply = ask(&mut server, method, path, &format!("Accept-Encoding: {accept}\r\n"));
            assert_eq!(reply.header("content-encoding"), coding, "{path} {accept}");
            assert_eq!(reply.header("vary"), Some("Accept-Encoding"), "{path} {accept}");
            let expected = if path == "/app.js" { "text/javascript" } else { "text/" };
            assert!(reply.header("content-type").unwrap().starts_with(expected), "the type of the original");
            assert!(method == "HEAD" || reply.text() == body, "{path} {accept}");
            tags.insert((path, coding, reply.header("etag").unwrap().to_owned()));
        }
    }
    let different: std::collections::BTreeSet<_> = tags.iter().map(|(_, _, tag)| tag).collect();
    assert_eq!((tags.len(), different.len()), (6, 6), "each representation has a tag of its own: {tags:?}");
    let plain = get(&mut server, "/none.txt", "Accept-Encoding: gzip\r\n");
    assert_eq!((plain.header("vary"), plain.header("content-encoding")), (None, None));
    assert_eq!(get(&mut server, "/orphan.js", "Accept-Encoding: gzip\r\n").status, 404);
    let mut off = site.serve(Options::new().precompressed(false));
    let reply = get(&mut off, "/app.js", "Accept-Encoding: gzip\r\n");
    assert_eq!((reply.text().as_str(), reply.header("vary")), ("plain", None));
}

#[test]
fn f8_files_are_only_read() {
    let site = Site::new(&[("a.txt", b"text")]);
    let mut server = site.serve(Options::new());
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get", "FROB"] {
        for path in ["/a.txt", "/nope", "/.env"] {
            let reply = ask(&mut server, method, path, "Content-Length: 0\r\n");
            assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")), "{method} {path}");
        }
    }
}

/// A file of this many bytes that takes no place on the disk: zeros.
fn sparse(site: &Site, name: &str, len: u64) {
    let path = site.root().join(name);
    fs::File::create(&path).unwrap().set_len(len).unwrap();
    age(&path, 3600);
}

#[test]
fn f9_a_large_file_to_a_slow_reader_takes_no_memory() {
    const LEN: u64 = 1 << 30;
    let site = Site::new(&[]);
    sparse(&site, "large.bin", LEN);
    let mut server = site.serve(Options::new());
    let mut slow = server.connect();
    server.send(&mut slow, b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    server.until("the socket is full", |server| server.manager.stats().bytes_out > 100_000);
    server.settle();
    let conn = server.net().connections().iter().find(|info| info.listener.is_some()).unwrap().id;
    let mut seen = 0;
    for _ in 0..200 {
        slow.receive_some(100_000);
        seen += slow.got.len();
        slow.got.clear();
        server.settle();
        assert!(server.net().queued(conn) <= 64 * 1024, "queued: {}", server.net().queued(conn));
    }
    assert!(seen > 1_000_000, "the test reads nothing");
    let stats = server.manager.stats();
    assert_eq!((stats.high_waters, stats.slow_consumers), (0, 0), "a file is no flood");
    // It took nothing from the others.
    let mut other = server.connect();
    let reply = server.ask(&mut other, b"GET /large.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=-3\r\n\r\n");
    assert_eq!(reply.body, [0; 3]);
    drop(slow);
    server.until("the slow one is gone", |server| server.net().connection_count() == 2);
}

#[test]
fn one_large_file_does_not_hold_up_the_others() {
    let site = Site::new(&[("a.txt", b"text")]);
    sparse(&site, "large.bin", 1 << 40);
    let mut server = site.serve(Options::new());
    // Readers that take whatever comes, on threads of their own, until the test is over.
    let addr = server.addr;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let stop = std::sync::Arc::clone(&stop);
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                let mut stream = common::client(addr);
                stream.write_all(b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                let mut room = vec![0; 1 << 20];
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = stream.read(&mut room).unwrap();
                }
            })
        })
        .collect();
    server.until("much is sent", |server| server.manager.stats().bytes_out > 50_000_000);
    let mut client = server.connect();
    for _ in 0..20 {
        assert_eq!(server.ask(&mut client, b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").body, b"text");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    server.until("the readers are gone", |_| readers.iter().all(|reader| reader.is_finished()));
}

#[test]
fn files_asked_for_in_a_row_come_in_order_and_wait_for_the_reader() {
    let site = Site::new(&[("a.txt", b"small")]);
    sparse(&site, "large.bin", 20_000_000);
    let mut server = site.serve(Options::new());
    let mut client = server.connect();
    let pair = "GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n";
    server.send(&mut client, pair.repeat(50).as_bytes());
    server.settle();
    assert!(server.log().len() < 30, "{} files were opened for a client that does not read", server.log().len());
    for _ in 0..50 {
        assert_eq!(server.reply(&mut client).body.len(), 20_000_000);
        assert_eq!(server.reply(&mut client).body, b"small");
    }
    assert!(server.manager.stats().high_waters > 0);
}

#[test]
fn a_file_that_shrinks_ends_the_connection_and_one_that_grows_is_sent_as_announced() {
    let site = Site::new(&[]);
    sparse(&site, "shrinks.bin", 100_000_000);
    sparse(&site, "grows.bin", 20_000_000);
    let mut server = site.serve(Options::new());
    let mut client = server.connect();
    server.send(&mut client, b"GET /grows.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    server.until("it is under way", |server| server.manager.stats().bytes_out > 100_000);
    fs::File::options().write(true).open(site.root().join("grows.bin")).unwrap().set_len(30_000_000).unwrap();
    assert_eq!(server.reply(&mut client).body.len(), 20_000_000);
    server.send(&mut client, b"GET /shrinks.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    let before = server.manager.stats().bytes_out;
    server.until("it is under way", |server| server.manager.stats().bytes_out > before + 100_000);
    fs::File::options().write(true).open(site.root().join("shrinks.bin")).unwrap().set_len(1000).unwrap();
    server.until("the connection ends", |_| {
        client.receive();
        client.ended
    });
    assert!(client.got.len() < 100_000_000, "a client that counts knows that it is not whole");
    assert_eq!(server.net().connection_count(), 1);
}

#[test]
fn a_change_shows_within_a_second_and_costs_no_wrong_byte() {
    let site = Site::new(&[("a.txt", b"first"), ("b.txt", b"plain")]);
    let mut server = site.serve(Options::new());
    let first = get(&mut server, "/a.txt", "");
    assert_eq!((first.text().as_str(), first.header("vary")), ("first", None));
    // Every kind of change: content of the same length, another file in its place, none, a sibling, a folder.
    site.write("a.txt", b"other");
    age(&site.root().join("a.txt"), 7200);
    assert_eq!(get(&mut server, "/a.txt", "").text(), "first", "for a second nobody looks");
    server.advance(Duration::from_millis(1001));
    let other = get(&mut server, "/a.txt", "");
    assert_eq!(other.text(), "other");
    assert_ne!(other.header("etag"), first.header("etag"));
    site.write("new.txt", b"third");
    age(&site.root().join("new.txt"), 7200);
    fs::rename(site.root().join("new.txt"), site.root().join("a.txt")).unwrap();
    server.advance(Duration::from_millis(1001));
    assert_eq!(get(&mut server, "/a.txt", "").text(), "third", "same length, same time, another file");
    site.write("a.txt.gz", b"gz");
    server.advance(Duration::from_millis(1001));
    let coded = get(&mut server, "/a.txt", "Accept-Encoding: gzip\r\n");
    assert_eq!((coded.text().as_str(), coded.header("vary")), ("gz", Some("Accept-Encoding")));
    fs::remove_file(site.root().join("a.txt")).unwrap();
    server.advance(Duration::from_millis(1001));
    assert_eq!(get(&mut server, "/a.txt", "").status, 404);
    fs::create_dir(site.root().join("a.txt")).unwrap();
    assert_eq!(get(&mut server, "/a.txt", "").status, 301);
    // A reader that comes all the time does not keep the old one alive.
    assert_eq!(get(&mut server, "/b.txt", "").text(), "plain");
    site.write("b.txt", b"fresh");
    age(&site.root().join("b.txt"), 7200);
    let mut seen = Vec::new();
    for _ in 0..4 {
        server.advance(Duration::from_millis(400));
        seen.push(get(&mut server, "/b.txt", "").text());
    }
    assert_eq!(seen, ["plain", "plain", "fresh", "fresh"]);
    let mut uncached = site.serve(Options::new().cache(0, 0, Duration::ZERO));
    assert_eq!(get(&mut uncached, "/b.txt", "").text(), "fresh");
    site.write("b.txt", b"new");
    assert_eq!(get(&mut uncached, "/b.txt", "").text(), "new");
}

#[test]
fn a_file_that_was_just_written_has_a_weak_tag_and_is_looked_at_again() {
    let site = Site::new(&[("a.txt", b"one")]);
    let path = site.root().join("a.txt");
    let stamp = SystemTime::now();
    let set = || fs::File::options().write(true).open(&path).unwrap().set_modified(stamp).unwrap();
    set();
    let mut server = site.serve(Options::new());
    let weak = get(&mut server, "/a.txt", "").header("etag").unwrap().to_owned();
    assert!(weak.starts_with("W/\""), "{weak}");
    let headers = format!("Range: bytes=0-0\r\nIf-Range: {weak}\r\n");
    assert_eq!(get(&mut server, "/a.txt", &headers).status, 200, "a weak tag says nothing of single bytes");
    assert_eq!(get(&mut server, "/a.txt", &format!("If-None-Match: {weak}\r\n")).status, 304);
    // Written again in place within the same tick: nothing of its stamp tells.
    fs::write(&path, "two").unwrap();
    set();
    server.advance(Duration::from_millis(1001));
    assert_eq!(get(&mut server, "/a.txt", "").text(), "two");
}

#[test]
fn a_single_file_is_served_whatever_the_url_says() {
    let site = Site::new(&[("page.html", b"<p>"), ("large.bin", &pattern(300_000))]);
    for (name, content_type) in [("page.html", "text/html; charset=utf-8"), ("large.bin", "application/octet-stream")] {
        let path = site.root().join(name);
        let content = fs::read(&path).unwrap();
        let mut server = serve(move |cx: &mut Cx<'_>, ev: Event<'_>| {
            if let Event::HttpRequest(request) = ev {
                serve_file(cx, request, &path);
            }
        });
        let reply = get(&mut server, "/../whatever?x", "");
        assert!(reply.status == 200 && reply.body == content, "{name}");
        assert_eq!(reply.header("content-type"), Some(content_type));
        let etag = format!("If-None-Match: {}\r\n", reply.header("etag").unwrap());
        assert_eq!(get(&mut server, "/", &etag).status, 304);
        assert_eq!(get(&mut server, "/", "Range: bytes=1-2\r\n").body, content[1..3]);
        assert_eq!(ask(&mut server, "POST", "/", "Content-Length: 0\r\n").status, 405);
    }
    for (path, status) in [(site.root(), 403), (site.root().join("nope"), 404), (site.root().join("page.html/x"), 404)]
    {
        let mut server = serve(move |cx: &mut Cx<'_>, ev: Event<'_>| {
            if let Event::HttpRequest(request) = ev {
                serve_file(cx, request, &path);
            }
        });
        assert_eq!(get(&mut server, "/", "").status, status);
    }
}

#[test]
fn embedded_files_are_served_by_the_same_rules() {
    let files: &[(&str, &'static [u8])] = &[
        ("index.html", b"index"),
        ("404.html", b"gone"),
        ("a b/index.html", b"inner"),
        ("js/app.js", b"plain"),
        ("js/app.js.gz", b"gzip"),
    ];
    let embed = |options| Embedded::new(files, options).unwrap();
    let run = |set: Embedded| {
        serve(move |cx: &mut Cx<'_>, ev: Event<'_>| {
            if let Event::HttpRequest(request) = ev {
                set.serve(cx, request);
            }
        })
    };
    let mut server = run(embed(Options::new().prefix("/app").not_found("404.html").header("X-Extra", "1")));
    let table = [
        ("/app/", 200, "index"),
        ("/app/index.html", 200, "index"),
        ("/app/js/app.js", 200, "plain"),
        ("/app/js/%61pp.js", 200, "plain"),
        ("/app/js/", 404, "gone"),
        ("/app/nope", 404, "gone"),
        ("/app/../index.html", 404, "gone"),
        ("/index.html", 404, "gone"),
        ("/app/%ff", 400, "Bad path.\n"),
    ];
    for (path, status, body) in table {
        let reply = get(&mut server, path, "");
        assert_eq!((reply.status, reply.text().as_str()), (status, body), "{path}");
    }
    // Links in a page are relative to the folder: its URL ends in a slash.
    for (path, place) in [("/app", "/app/"), ("/app/a%20b?x=//y", "/app/a%20b/?x=//y")] {
        let reply = get(&mut server, path, "");
        assert_eq!((reply.status, reply.header("location")), (301, Some(place)), "{path}");
    }
    assert_eq!(get(&mut server, "/app/js", "").status, 404, "a folder without an index is nothing");
    let plain = get(&mut server, "/app/js/app.js", "");
    let coded = get(&mut server, "/app/js/app.js", "Accept-Encoding: gzip\r\n");
    assert_eq!((coded.text().as_str(), coded.header("content-encoding")), ("gzip", Some("gzip")));
    assert_eq!((plain.header("vary"), plain.header("x-extra")), (Some("Accept-Encoding"), Some("1")));
    assert_ne!(plain.header("etag"), coded.header("etag"));
    assert_eq!(plain.header("last-modified"), None);
    let etag = format!("If-None-Match: {}\r\n", plain.header("etag").unwrap());
    assert_eq!(get(&mut server, "/app/js/app.js", &etag).status, 304);
    assert_eq!(get(&mut server, "/app/js/app.js", "Range: bytes=-2\r\n").text(), "in");
    assert_eq!(ask(&mut server, "POST", "/app/", "Content-Length: 0\r\n").status, 405);
    for (names, options) in [
        (["a", "a"], Options::new()),
        (["a", "../b"], Options::new()),
        (["a", "/b"], Options::new()),
        (["a", ".b"], Options::new()),
        (["a", ""], Options::new()),
        (["a", "b"], Options::new().header("X", "\n")),
    ] {
        let set: Vec<(&str, &'static [u8])> = names.iter().map(|name| (*name, &b"x"[..])).collect();
        assert!(Embedded::new(&set, options).is_err_and(|e| e.is_bad_value()), "{names:?}");
    }
}

#[test]
fn a_folder_that_cannot_be_served_is_an_error_that_names_it() {
    let site = Site::new(&[("a.txt", b"")]);
    for path in [site.root().join("a.txt"), site.root().join("nope")] {
        let error = Dir::new(&path).unwrap_err();
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
    assert!(Dir::with(site.root(), Options::new().prefix("x")).unwrap_err().is_bad_value());
}

#[test]
fn http_1_0_and_close_get_their_files_whole() {
    let content = pattern(3_000_000);
    let site = Site::new(&[("large.bin", &content)]);
    let mut server = site.serve(Options::new());
    for request in
        ["GET /large.bin HTTP/1.0\r\n\r\n", "GET /large.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]
    {
        let mut client = server.connect();
        let reply = server.ask(&mut client, request.as_bytes());
        assert!(reply.status == 200 && reply.body == content && reply.closes(), "{request}");
        assert_eq!(server.end(&mut client), "");
    }
}

/// A peer that takes a file and never reads is closed by the floor of bytes per second, like any other.
#[test]
fn who_never_reads_a_file_is_closed_in_the_end() {
    let site = Site::new(&[]);
    sparse(&site, "large.bin", 1 << 30);
    let dir = Dir::new(site.root()).unwrap();
    let limits = Limits::new().rate_grace(Duration::from_secs(1));
    let mut server = serve_within(limits, move |cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpRequest(request) => {
            dir.serve(cx, request);
        }
        Event::Closed(reason) => cx.state.push(format!("closed: {reason}")),
        _ => {}
    });
    let mut client = server.connect();
    server.send(&mut client, b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    server.until("the socket is full", |server| server.manager.stats().bytes_out > 100_000);
    (0..3).for_each(|_| server.advance(Duration::from_secs(7)));
    server.until_logged("closed");
    assert_eq!(server.manager.stats().timeouts, 1);
}
