//! From a file to a reply: conditions, coding, ranges.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::SystemTime;

use bytes::Bytes;

use crate::event::Sent;
use crate::http::Part;
use crate::manager::Ctx;
use crate::proto::http::{ByteRanges, Request, Response, Validators, Verdict, byte_ranges, content_coding};

use super::name;
use super::options::Options;
use super::resource::{CODINGS, Coding, Content, Resource, Variant};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// The status that was sent.
    pub status: u16,
    /// Bytes of the body that follow the head, none for HEAD and 304.
    pub len: u64,
    /// What the connection said to it.
    pub sent: Sent,
}

/// Up to this length a copy is cheaper than a piece of its own in the queue.
const COPY_MAX: usize = 8 * 1024;

/// Answers for a file with this status, 200 or 404. Only a 200 has conditions and ranges.
pub(super) fn file<S>(
    cx: &mut Ctx<'_, S>,
    request: &Request<'_>,
    resource: &Resource,
    options: &Options,
    status: u16,
) -> Served {
    let coding = choose(request, resource);
    let Some(variant) = resource.variant(coding) else { return text(cx, request, 500, "") };
    let modified = variant.modified.as_ref().map(|(time, _)| *time);
    let has = Validators { etag: Some(&variant.etag), modified };
    let (verdict, wanted) = match status {
        200 => (request.conditions(&has), ranges(request, variant, &has)),
        _ => (Verdict::Proceed, ByteRanges::All),
    };
    let head = |status: u16| {
        let mut response = Response::new(status);
        if status != 304 {
            response = response.content_type(&resource.content_type);
        }
        if status != 404 {
            response = response.header("ETag", &*variant.etag);
            if let Some((_, date)) = &variant.modified {
                response = response.header("Last-Modified", &**date);
            }
            if status != 304 {
                response = response.header("Accept-Ranges", "bytes");
            }
        }
        if let Some(coding) = coding.filter(|_| status != 304) {
            response = response.header("Content-Encoding", coding.name);
        }
        // RFC 9110 §12.5.5: also where this client got the plain one.
        if !resource.coded.is_empty() {
            response = response.header("Vary", "Accept-Encoding");
        }
        options.extra_headers().fold(response, |response, (name, value)| response.header(name, value))
    };
    let len = variant.content.len();
    match (verdict, wanted) {
        (Verdict::NotModified, _) => whole(cx, request, head(304), &Content::Memory(Bytes::new())),
        (Verdict::Failed, _) => text(cx, request, 412, "It has changed.\n"),
        (Verdict::Proceed, ByteRanges::All) => whole(cx, request, head(status), &variant.content),
        (Verdict::Proceed, ByteRanges::One(range)) => {
            let told = format!("bytes {}-{}/{len}", range.start, range.end - 1);
            parts(cx, request, head(206).header("Content-Range", told), &[variant.content.part(range)])
        }
        (Verdict::Proceed, ByteRanges::Several(ranges)) => {
            let boundary = boundary();
            let mut body = Vec::with_capacity(ranges.len() * 2 + 1);
            for range in ranges {
                let told = format!(
                    "\r\n--{boundary}\r\nContent-Type: {}\r\nContent-Range: bytes {}-{}/{len}\r\n\r\n",
                    resource.content_type,
                    range.start,
                    range.end - 1
                );
                body.extend([Part::Bytes(told.into()), variant.content.part(range)]);
            }
            body.push(Part::Bytes(format!("\r\n--{boundary}--\r\n").into()));
            let content_type = format!("multipart/byteranges; boundary={boundary}");
            parts(cx, request, head(206).content_type(&content_type), &body)
        }
        (Verdict::Proceed, ByteRanges::Unsatisfiable) => {
            let told = format!("bytes */{len}");
            let response = Response::text(416, "There are no such bytes.\n").header("Content-Range", told);
            reply(cx, request, response)
        }
    }
}

/// Answers for a folder that was asked for without its slash: with the URL that has it.
pub(super) fn folder<S>(cx: &mut Ctx<'_, S>, request: &Request<'_>, options: &Options, relative: &str) -> Served {
    let mut url = name::folder_url(&options.prefix, relative);
    if let Some(query) = request.query_string() {
        url.push('?');
        url.push_str(query);
    }
    reply(cx, request, Response::text(301, "It is a folder.\n").header("Location", url))
}

/// The coding to send: what the client prefers of what there is.
fn choose(request: &Request<'_>, resource: &Resource) -> Option<Coding> {
    if resource.coded.is_empty() {
        return None;
    }
    let mut offered = [""; CODINGS.len()];
    for (name, (coding, _)) in offered.iter_mut().zip(&resource.coded) {
        *name = coding.name;
    }
    let chosen = content_coding(request, &offered[..resource.coded.len().min(CODINGS.len())])?;
    CODINGS.into_iter().find(|coding| coding.name == chosen)
}

/// RFC 9110 §14.2: a Range is for GET, and only where its If-Range holds.
fn ranges(request: &Request<'_>, variant: &Variant, has: &Validators<'_>) -> ByteRanges {
    if request.is_head() {
        return ByteRanges::All;
    }
    let mut values = request.header_all("range");
    match (values.next(), values.next()) {
        (Some(value), None) if request.range_applies(has, SystemTime::now()) => {
            byte_ranges(value, variant.content.len())
        }
        _ => ByteRanges::All,
    }
}

fn whole<S>(cx: &mut Ctx<'_, S>, request: &Request<'_>, response: Response<'_>, content: &Content) -> Served {
    match content {
        Content::Memory(bytes) if bytes.len() <= COPY_MAX => reply(cx, request, response.body(bytes)),
        Content::Memory(bytes) => reply(cx, request, response.shared(bytes.clone())),
        Content::File { len, .. } => parts(cx, request, response, &[content.part(0..*len)]),
    }
}

fn parts<S>(cx: &mut Ctx<'_, S>, request: &Request<'_>, response: Response<'_>, parts: &[Part]) -> Served {
    let status = response.status();
    let len = if request.is_head() { 0 } else { parts.iter().map(Part::len).sum() };
    Served { status, len, sent: cx.net.reply_parts(cx.conn, response, parts) }
}

pub(super) fn reply<S>(cx: &mut Ctx<'_, S>, request: &Request<'_>, response: Response<'_>) -> Served {
    let status = response.status();
    let len = if request.is_head() || status == 304 { 0 } else { response.body_len() as u64 };
    Served { status, len, sent: cx.reply(response) }
}

pub(super) fn text<S>(cx: &mut Ctx<'_, S>, request: &Request<'_>, status: u16, text: &str) -> Served {
    let response = Response::text(status, text);
    reply(cx, request, if status == 405 { response.header("Allow", "GET, HEAD") } else { response })
}

/// A text that no file has in it by chance, nor by foresight (RFC 2046 §5.1.1).
fn boundary() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
