//! The cost of HTTP heads without I/O, with the allocations of each: `cargo bench --bench http_proto`.

use std::hint::black_box;

use divan::{AllocProfiler, Bencher};
use vansire::http::body::BodyDecoder;
use vansire::http::encode::{ReplyTo, encode_reply};
use vansire::http::head::{HeaderSpace, Scan, parse};
use vansire::http::{BodyLen, HeadLimits, Response, Version};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const SMALL: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

const BROWSER: &[u8] = b"GET /assets/app.js?v=42 HTTP/1.1\r\nHost: localhost:8080\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef\r\n\
    Sec-Fetch-Dest: document\r\n\r\n";

#[derive(Debug, Clone, Copy)]
enum Size {
    Small,
    Browser,
}

impl Size {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Small => SMALL,
            Self::Browser => BROWSER,
        }
    }
}

const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

fn main() {
    divan::main();
}

#[divan::bench(args = [Size::Small, Size::Browser], sample_size = 1000)]
fn httparse_alone(bencher: Bencher<'_, '_>, size: Size) {
    let bytes = size.bytes();
    bencher.bench(|| {
        let mut headers = [const { std::mem::MaybeUninit::uninit() }; 64];
        let mut request = httparse::Request::new(&mut []);
        let status = request.parse_with_uninit_headers(black_box(bytes), &mut headers);
        black_box((status, request.headers.len()))
    });
}

#[divan::bench(args = [Size::Small, Size::Browser], sample_size = 1000)]
fn parse_head(bencher: Bencher<'_, '_>, size: Size) {
    let bytes = size.bytes();
    let limits = HeadLimits::default();
    bencher.bench(|| {
        let mut space = HeaderSpace::new();
        let parsed = parse(black_box(bytes), &mut Scan::default(), &limits, &mut space);
        black_box(&parsed).is_ok()
    });
}

#[divan::bench(sample_size = 1000)]
fn encode_text(bencher: Bencher<'_, '_>) {
    let to = ReplyTo { version: Version::Http11, head_request: false, keep_alive: true, date: DATE };
    let mut out = Vec::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        encode_reply(&mut out, &Response::text(200, black_box("Hello, world!")), &to).is_ok()
    });
}

/// A body in chunks of one byte, the dearest there is, in one piece and byte by byte.
#[divan::bench(args = [usize::MAX, 1])]
fn decode_20000_chunks(bencher: Bencher<'_, '_>, piece: usize) {
    let bytes = [b"1\r\nx\r\n".repeat(20_000), b"0\r\n\r\n".to_vec()].concat();
    let mut body = Vec::with_capacity(20_000);
    bencher.counter(divan::counter::BytesCount::new(bytes.len())).bench_local(|| {
        body.clear();
        let Ok(mut decoder) = BodyDecoder::new(BodyLen::Chunked, 20_000) else { unreachable!() };
        for mut input in bytes.chunks(piece) {
            if decoder.collect(&mut input, &mut body).is_err() {
                unreachable!();
            }
        }
        decoder.is_done()
    });
}

/// What one request of a pipeline costs: parse, strict checks, and a reply of 13 bytes.
#[divan::bench(args = [Size::Small, Size::Browser], sample_size = 1000)]
fn get(bencher: Bencher<'_, '_>, size: Size) {
    const DEPTH: usize = 16;
    let pipeline = size.bytes().repeat(DEPTH);
    let limits = HeadLimits::default();
    let mut out = Vec::with_capacity(DEPTH * 256);
    bencher.counter(divan::counter::ItemsCount::new(DEPTH)).bench_local(|| {
        out.clear();
        let mut rest = &pipeline[..];
        let mut scan = Scan::default();
        while !rest.is_empty() {
            let mut space = HeaderSpace::new();
            let Ok(Some((head, used))) = parse(rest, &mut scan, &limits, &mut space) else { unreachable!() };
            let to = ReplyTo {
                version: head.version(),
                head_request: head.is_head(),
                keep_alive: head.keep_alive(),
                date: DATE,
            };
            if encode_reply(&mut out, &Response::text(200, "Hello, world!"), &to).is_err() {
                unreachable!();
            }
            rest = &rest[used..];
        }
        out.len()
    });
}
