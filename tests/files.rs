//! Files over real sockets: folders, single files, embedded sets. Cases F1 to F9 of the reference.

mod common;
mod http_support;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::{TempDir, pattern};
use http_support::{Cx, Reply, Server, serve};
use vansire::Event;
use vansire::files::{Dir, Options};

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
    let mut server = site.serve(Options::new().not_found("not-there.html"));
    assert_eq!(get(&mut server, "/nope", "").body, b"Not found.\n");
}
