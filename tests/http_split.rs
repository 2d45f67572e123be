//! A stream of requests leads to the same events and the same output, however it is cut.
#![cfg(unix)]

#[path = "http_support/split.rs"]
mod split;

use proptest::prelude::*;

use split::{End, Outcome, run};

/// Requests and what some take for such. Each may follow each.
const STREAMS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nGET /a?b=c HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n",
    "HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world",
    "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /d HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n",
    "POST /s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    "PUT /d HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "GET /p HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /e HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /c HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD /c HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /d HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /n HTTP/1.1\r\nHost: a\r\n\r\n",
    // What ends a connection.
    "GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /c HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, TE\r\n\r\n",
    "POST /m HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /m HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\n\n",
    "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
    "GET /\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "POST /s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\n\r\n",
    "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n",
    "FROBFROBFROBFROBFROBFROBFROBFROBFROB / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\n\r\n\r\n\r\n\r\n\r\n",
    // Unfinished.
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
    "POST /s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "GE",
];

/// The pieces of a stream between these places.
fn pieces<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut.min(bytes.len())).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn whole(bytes: &[u8], end: End) -> Outcome {
    let outcome = run([bytes].into_iter(), end);
    let count = |prefix: &str| outcome.events.iter().filter(|event| event.starts_with(prefix)).count();
    assert_eq!(count("closed: "), 1, "{outcome:?}");
    assert!(outcome.events.last().unwrap().starts_with("closed: "), "{outcome:?}");
    assert!(count("request ") <= count("head "), "{outcome:?}");
    outcome
}

#[test]
fn each_stream_is_the_same_cut_in_two_anywhere_and_byte_by_byte() {
    for stream in STREAMS {
        // A second request behind it shows where the first one was taken to end.
        let bytes = format!("{stream}GET /next HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        for end in [End::Shut, End::Silence] {
            let expected = whole(&bytes, end);
            for cut in 1..bytes.len() {
                assert_eq!(run(pieces(&bytes, &[cut]).into_iter(), end), expected, "{stream:?} cut at {cut}");
            }
            assert_eq!(run(bytes.chunks(1), end), expected, "{stream:?} byte by byte");
        }
    }
}

proptest! {
    #[test]
    fn any_pipeline_is_the_same_however_it_is_cut(
        picks in prop::collection::vec(prop::sample::select(STREAMS), 1..5),
        flips in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"\r\n :;,0159afGx\x00\xff/".as_slice())), 0..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        shuts in any::<bool>(),
    ) {
        let mut bytes = picks.concat().into_bytes();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let end = if shuts { End::Shut } else { End::Silence };
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        prop_assert_eq!(run(pieces(&bytes, &cuts).into_iter(), end), whole(&bytes, end), "{:?} cut at {:?}", String::from_utf8_lossy(&bytes), cuts);
    }
}
