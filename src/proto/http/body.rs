//! Bodies: by length, chunked, and until the connection ends (RFC 9112 §6, §7.1).
//!
//! The decoder of chunks is a machine over bytes: whatever is cut where, the data and the verdict are the same, and no
//! byte is looked at twice. Data comes as slices of the input. It is strict where a lenient reader could be made to
//! see another message than the peer behind it: CRLF only, no whitespace around sizes, no size beyond 64 bits.

use std::fmt;

use super::rules::BodyLen;
use super::syntax::{hex_digit, is_tchar, is_value_byte};

/// The most bytes of one size line: digits, leading zeros and extensions.
const SIZE_LINE_MAX: u16 = 1024;

/// The most bytes of extensions in all chunks of one body.
const EXTENSIONS_MAX: u16 = 16 * 1024;

/// The most bytes of the trailer section.
const TRAILERS_MAX: u16 = 8 * 1024;

/// Why a body cannot be read. The connection cannot go on after one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyError {
    /// The body is longer than may be: known from its Content-Length or its chunk sizes before it came.
    BodyTooLarge,
    /// A chunk without a size, or a size that is not hexadecimal.
    BadChunkSize,
    /// A chunk size of 2^64 or more.
    ChunkSizeOverflow,
    /// A control character in a chunk extension.
    BadChunkExtension,
    /// More bytes of chunk extensions than anybody needs.
    ChunkExtensionsTooLarge,
    /// CRLF does not end the size or the data of a chunk: more data than its size, a bare CR or a bare LF.
    ChunkEndMissing,
    /// A line of the trailer section that is no header.
    BadTrailer,
    /// More bytes of trailers than anybody needs.
    TrailersTooLarge,
}

impl BodyError {
    /// The status of the reply that refuses the request.
    pub fn status(self) -> u16 {
        match self {
            Self::BodyTooLarge => 413,
            Self::BadChunkSize
            | Self::ChunkSizeOverflow
            | Self::BadChunkExtension
            | Self::ChunkExtensionsTooLarge
            | Self::ChunkEndMissing
            | Self::BadTrailer
            | Self::TrailersTooLarge => 400,
        }
    }

    /// The fact as a phrase, for logs and for the body of the refusal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body too large",
            Self::BadChunkSize => "bad chunk size",
            Self::ChunkSizeOverflow => "chunk size overflows",
            Self::BadChunkExtension => "control character in a chunk extension",
            Self::ChunkExtensionsTooLarge => "chunk extensions too large",
            Self::ChunkEndMissing => "CRLF missing after a chunk",
            Self::BadTrailer => "bad trailer",
            Self::TrailersTooLarge => "trailers too large",
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for BodyError {}

/// What [`BodyDecoder::next`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'b> {
    /// Data of the body, never empty. There may be more in the rest of the input.
    Data(&'b [u8]),
    /// The input is used up: more bytes are needed.
    NeedMore,
    /// The body is complete. What follows is the next message.
    End,
}

/// Reads one body out of the bytes of a connection.
///
/// ```
/// use vansire::http::BodyLen;
/// use vansire::http::body::{BodyDecoder, Piece};
///
/// let mut decoder = BodyDecoder::new(BodyLen::Chunked, 1024)?;
/// let mut input = &b"5\r\nhello\r\n0\r\n\r\nGET "[..];
/// assert_eq!(decoder.next(&mut input)?, Piece::Data(b"hello"));
/// assert_eq!(decoder.next(&mut input)?, Piece::End);
/// assert_eq!(input, b"GET ");
/// # Ok::<(), vansire::http::body::BodyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct BodyDecoder {
    /// Bytes of the current chunk, or of the whole body where its length is known, that have not come yet.
    remaining: u64,
    /// How many bytes of data may still be announced by chunk sizes.
    allowed: u64,
    /// Bytes of the current size line.
    line_len: u16,
    /// Bytes of all extensions, then of the trailer section.
    overhead: u16,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A body of known length.
    Length,
    /// A body that ends with the connection.
    Open,
    /// The first digit of a size must come.
    Size,
    /// More digits, an extension or the end of the line may come.
    SizeDigits,
    /// Whitespace after the size: an extension must come.
    SizeSpace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
    Failed(BodyError),
}

impl BodyDecoder {
    /// A decoder for a body of at most `body_max` bytes; fails at once where the length is known and larger.
    pub fn new(len: BodyLen, body_max: u64) -> Result<Self, BodyError> {
        let (state, remaining) = match len {
            BodyLen::None => (State::Done, 0),
            BodyLen::Length(length) if length > body_max => return Err(BodyError::BodyTooLarge),
            BodyLen::Length(0) => (State::Done, 0),
            BodyLen::Length(length) => (State::Length, length),
            BodyLen::Chunked => (State::Size, 0),
            BodyLen::UntilClose => (State::Open, 0),
        };
        Ok(Self { remaining, allowed: body_max, line_len: 0, overhead: 0, state })
    }

    /// The body is complete.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next piece off the front of the input. Data is a slice of it. After an error every call fails with the
    /// same one.
    #[inline]
    pub fn next<'b>(&mut self, input: &mut &'b [u8]) -> Result<Piece<'b>, BodyError> {
        if !matches!(self.state, State::Length | State::Data | State::Done | State::Open) {
            self.skip_to_data(input)?;
        }
        match self.state {
            State::Done => Ok(Piece::End),
            State::Open if !input.is_empty() => {
                let data = std::mem::take(input);
                match self.allowed.checked_sub(data.len() as u64) {
                    Some(allowed) => self.allowed = allowed,
                    None => {
                        self.state = State::Failed(BodyError::BodyTooLarge);
                        return Err(BodyError::BodyTooLarge);
                    }
                }
                Ok(Piece::Data(data))
            }
            State::Length | State::Data if !input.is_empty() => {
                let len = usize::try_from(self.remaining).map_or(input.len(), |remaining| remaining.min(input.len()));
                let (data, rest) = input.split_at(len);
                *input = rest;
                self.remaining -= len as u64;
                if self.remaining == 0 {
                    self.state = if self.state == State::Length { State::Done } else { State::DataCr };
                }
                Ok(Piece::Data(data))
            }
            _ => Ok(Piece::NeedMore),
        }
    }

    /// No more input will come: answers whether the body is complete. One that ends with the connection is, now.
    pub fn end(&mut self) -> bool {
        if self.state == State::Open {
            self.state = State::Done;
        }
        self.is_done()
    }

    /// Takes all data off the front of the input and appends it. Answers whether the body is complete.
    ///
    /// `into` grows by what has come, never by what was announced.
    pub fn collect(&mut self, input: &mut &[u8], into: &mut Vec<u8>) -> Result<bool, BodyError> {
        loop {
            match self.next(input)? {
                Piece::Data(data) => into.extend_from_slice(data),
                Piece::NeedMore => return Ok(false),
                Piece::End => return Ok(true),
            }
        }
    }

    fn skip_to_data(&mut self, input: &mut &[u8]) -> Result<(), BodyError> {
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        while let [byte, rest @ ..] = *input {
            *input = rest;
            match self.step(*byte) {
                Ok(State::Data) => {
                    self.state = State::Data;
                    return Ok(());
                }
                Ok(State::Done) => {
                    self.state = State::Done;
                    return Ok(());
                }
                Ok(state) => self.state = state,
                Err(error) => {
                    self.state = State::Failed(error);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The state after a byte that is not data.
    #[inline]
    fn step(&mut self, byte: u8) -> Result<State, BodyError> {
        match self.state {
            State::Size | State::SizeDigits => match (byte, hex_digit(byte)) {
                (_, Some(digit)) => {
                    self.count_line()?;
                    let shifted = self.remaining.checked_mul(16).ok_or(BodyError::ChunkSizeOverflow)?;
                    self.remaining = shifted | u64::from(digit);
                    Ok(State::SizeDigits)
                }
                _ if self.state == State::Size => Err(BodyError::BadChunkSize),
                (b'\r', _) => self.end_size().and(Ok(State::SizeLf)),
                (b';', _) => self.end_size().and_then(|()| self.count_extension()).and(Ok(State::Extension)),
                // RFC 9112 §7.1.1: whitespace may precede the semicolon, and only there.
                (b' ' | b'\t', _) => self.end_size().and_then(|()| self.count_extension()).and(Ok(State::SizeSpace)),
                (b'\n', _) => Err(BodyError::ChunkEndMissing),
                _ => Err(BodyError::BadChunkSize),
            },
            State::SizeSpace => match byte {
                b' ' | b'\t' => self.count_extension().and(Ok(State::SizeSpace)),
                b';' => self.count_extension().and(Ok(State::Extension)),
                _ => Err(BodyError::BadChunkSize),
            },
            State::Extension => match byte {
                b'\r' => Ok(State::SizeLf),
                b'\n' => Err(BodyError::ChunkEndMissing),
                _ if is_value_byte(byte) => self.count_extension().and(Ok(State::Extension)),
                _ => Err(BodyError::BadChunkExtension),
            },
            State::SizeLf if byte == b'\n' => {
                self.line_len = 0;
                if self.remaining > 0 {
                    return Ok(State::Data);
                }
                self.overhead = 0;
                Ok(State::TrailerStart)
            }
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::Size),
            State::SizeLf | State::DataCr | State::DataLf => Err(BodyError::ChunkEndMissing),
            State::TrailerStart => match byte {
                b'\r' => Ok(State::EndLf),
                _ if is_tchar(byte) => self.count_trailer().and(Ok(State::TrailerName)),
                _ => Err(BodyError::BadTrailer),
            },
            State::TrailerName => match byte {
                b':' => self.count_trailer().and(Ok(State::TrailerValue)),
                _ if is_tchar(byte) => self.count_trailer().and(Ok(State::TrailerName)),
                _ => Err(BodyError::BadTrailer),
            },
            State::TrailerValue => match byte {
                b'\r' => self.count_trailer().and(Ok(State::TrailerLf)),
                _ if is_value_byte(byte) => self.count_trailer().and(Ok(State::TrailerValue)),
                _ => Err(BodyError::BadTrailer),
            },
            State::TrailerLf if byte == b'\n' => Ok(State::TrailerStart),
            State::EndLf if byte == b'\n' => Ok(State::Done),
            State::TrailerLf | State::EndLf => Err(BodyError::BadTrailer),
            State::Failed(error) => Err(error),
            State::Length | State::Data | State::Open | State::Done => Ok(self.state),
        }
    }

    /// The size is known: the limit is checked before any of its bytes comes.
    fn end_size(&mut self) -> Result<(), BodyError> {
        self.allowed = self.allowed.checked_sub(self.remaining).ok_or(BodyError::BodyTooLarge)?;
        Ok(())
    }

    fn count_line(&mut self) -> Result<(), BodyError> {
        self.line_len += 1;
        if self.line_len > SIZE_LINE_MAX { Err(BodyError::ChunkExtensionsTooLarge) } else { Ok(()) }
    }

    fn count_extension(&mut self) -> Result<(), BodyError> {
        self.overhead += 1;
        if self.overhead > EXTENSIONS_MAX {
            return Err(BodyError::ChunkExtensionsTooLarge);
        }
        self.count_line()
    }

    fn count_trailer(&mut self) -> Result<(), BodyError> {
        self.overhead += 1;
        if self.overhead > TRAILERS_MAX { Err(BodyError::TrailersTooLarge) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Verdict = Result<(Vec<u8>, Option<usize>), BodyError>;

    /// The body and where it ends, for input that comes in the given pieces.
    fn decode(bytes: &[u8], cuts: &[usize], body_max: u64) -> Verdict {
        let mut decoder = BodyDecoder::new(BodyLen::Chunked, body_max)?;
        let mut body = Vec::new();
        let mut at = 0usize;
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let end = bytes.len().min(at.saturating_add(cut));
            let mut input = &bytes[at..end];
            let is_done = decoder.collect(&mut input, &mut body)?;
            at = end - input.len();
            if is_done {
                return Ok((body, Some(at)));
            }
            assert!(input.is_empty());
        }
        Ok((body, None))
    }

    #[test]
    fn rfc_9112_7_1_chunks_become_their_data() {
        let zeros = format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(200));
        let table: &[(&str, &[u8], &[u8])] = &[
            ("none", b"0\r\n\r\n", b""),
            ("E22 two chunks", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
            ("E22 extension", b"5;a=b\r\nhello\r\n0\r\n\r\n", b"hello"),
            ("E22 trailer", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n", b"hello"),
            ("upper and lower case", b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789"),
            ("quoted extension", b"5;a=\"b;c\"\r\nhello\r\n0;d\r\n\r\n", b"hello"),
            ("whitespace at a semicolon", b"5 ; a = b\r\nhello\r\n0\t;x\r\n\r\n", b"hello"),
            ("empty extensions", b"5;;;\r\nhello\r\n0;\r\n\r\n", b"hello"),
            ("data like a last chunk", b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
            ("framing in a trailer", b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n", b"hello"),
            ("leading zeros", zeros.as_bytes(), b"hello"),
        ];
        for (name, bytes, body) in table {
            let followed = [bytes, &b"GET /"[..]].concat();
            for cuts in [&[][..], &[1; 300]] {
                assert_eq!(decode(&followed, cuts, 100), Ok((body.to_vec(), Some(bytes.len()))), "{name}");
            }
            for len in 0..bytes.len() {
                let cut = decode(&bytes[..len], &[], 100).map(|(_, end)| end);
                assert_eq!(cut, Ok(None), "{name} cut at {len}");
            }
        }
    }

    #[test]
    fn hostile_chunks_are_refused_by_name() {
        use BodyError::*;
        let long = |prefix: &str, len: usize| format!("{prefix}{}", "a".repeat(len)).into_bytes();
        let many_extensions = "1;aaaaaaaaaaaaaaa\r\nx\r\n".repeat(1025).into_bytes();
        let many_trailers = format!("0\r\n{}", "A: b\r\n".repeat(2000)).into_bytes();
        let table: &[(&str, &[u8], BodyError)] = &[
            ("E23 no size", b"\r\nhello", BadChunkSize),
            ("only an extension", b";x\r\n", BadChunkSize),
            ("E23 not hexadecimal", b"Z\r\n", BadChunkSize),
            ("sign", b"+5\r\n", BadChunkSize),
            ("prefix", b"0x5\r\n", BadChunkSize),
            ("underscore", b"0_5\r\n", BadChunkSize),
            ("space first", b" 5\r\n", BadChunkSize),
            ("space last", b"5 \r\n", BadChunkSize),
            ("NUL", b"5\0\r\n", BadChunkSize),
            ("obs-text", b"\xb5\r\n", BadChunkSize),
            ("E23 2^63", b"8000000000000000\r\n", BodyTooLarge),
            ("2^64 - 1", b"ffffffffffffffff\r\n", BodyTooLarge),
            ("2^64", b"10000000000000000", ChunkSizeOverflow),
            ("2^68 - 1", b"fffffffffffffffff", ChunkSizeOverflow),
            (
                "E25 too large in sum",
                b"3c\r\n012345678901234567890123456789012345678901234567890123456789\r\n29\r\n",
                BodyTooLarge,
            ),
            ("E23 missing CRLF", b"3\r\nhello\r\n", ChunkEndMissing),
            ("LF after the size", b"5\nhello", ChunkEndMissing),
            ("CR after the size", b"5\rhello", ChunkEndMissing),
            ("two CR", b"5\r\r\n", ChunkEndMissing),
            ("LF after the data", b"5\r\nhello\n", ChunkEndMissing),
            ("CR after the data", b"5\r\nhello\r0", ChunkEndMissing),
            ("LF after an extension", b"5;a\nhello", ChunkEndMissing),
            ("CR in an extension", b"5;a\rb", ChunkEndMissing),
            ("control in an extension", b"5;\x01", BadChunkExtension),
            ("long extension", &long("5;", 1024), ChunkExtensionsTooLarge),
            ("many extensions", &many_extensions, ChunkExtensionsTooLarge),
            ("endless zeros", &[b'0'; 1025], ChunkExtensionsTooLarge),
            ("trailer line begins with space", b"0\r\n X: y", BadTrailer),
            ("space before the colon", b"0\r\nX : y", BadTrailer),
            ("empty name", b"0\r\n: y", BadTrailer),
            ("no colon", b"0\r\nX\r\n", BadTrailer),
            ("NUL in a trailer", b"0\r\nX: \0", BadTrailer),
            ("CR in a trailer", b"0\r\nX: a\rb", BadTrailer),
            ("LF in a trailer", b"0\r\nX: a\n", BadTrailer),
            ("LF as the end", b"0\r\n\n", BadTrailer),
            ("CR as the end", b"0\r\n\rX", BadTrailer),
            ("long trailer", &long("0\r\nX:", 8192), TrailersTooLarge),
            ("many trailers", &many_trailers, TrailersTooLarge),
        ];
        for (name, bytes, expected) in table {
            let body_max = if *name == "many extensions" { 10_000 } else { 100 };
            assert_eq!(decode(bytes, &[], body_max), Err(*expected), "{name}");
            assert_eq!(decode(bytes, &vec![1; bytes.len()], body_max), Err(*expected), "{name}");
        }
    }

    #[test]
    fn an_error_is_final() {
        let mut decoder = BodyDecoder::new(BodyLen::Chunked, 100).unwrap();
        for mut input in [&b"5\r\nhello!!0\r\n\r\n"[..], b"0\r\n\r\n"] {
            let error = decoder.collect(&mut input, &mut Vec::new());
            assert_eq!(error, Err(BodyError::ChunkEndMissing));
            assert!(!decoder.is_done());
        }
    }

    #[test]
    fn e25_a_body_at_the_limit_is_read_and_one_above_is_refused_before_it_comes() {
        for (len, expected) in [(BodyLen::Length(100), true), (BodyLen::Length(101), false), (BodyLen::None, true)] {
            assert_eq!(BodyDecoder::new(len, 100).is_ok(), expected, "{len:?}");
        }
        assert_eq!(decode(b"64\r\n", &[], 100), Ok((Vec::new(), None)));
        assert_eq!(decode(b"65\r", &[], 100), Err(BodyError::BodyTooLarge));
        assert_eq!((BodyError::BodyTooLarge.status(), BodyError::BadChunkSize.status()), (413, 400));
    }

    #[test]
    fn a_body_of_known_length_ends_where_it_says() {
        let mut decoder = BodyDecoder::new(BodyLen::Length(5), 5).unwrap();
        let mut body = Vec::new();
        assert_eq!(decoder.collect(&mut &b"hel"[..], &mut body), Ok(false));
        let mut input = &b"loGET"[..];
        assert_eq!(decoder.collect(&mut input, &mut body), Ok(true));
        assert_eq!((&body[..], input), (&b"hello"[..], &b"GET"[..]));
        assert_eq!(decoder.next(&mut input), Ok(Piece::End));
        for none in [BodyLen::None, BodyLen::Length(0)] {
            assert!(BodyDecoder::new(none, 0).unwrap().is_done());
        }
    }

    /// E24: 20,000 chunks of one byte, in one piece and byte by byte.
    #[test]
    fn many_small_chunks_are_joined() {
        let bytes = [b"1\r\nx\r\n".repeat(20_000), b"0\r\n\r\n".to_vec()].concat();
        for cuts in [vec![], vec![1; bytes.len()]] {
            assert_eq!(decode(&bytes, &cuts, 20_000), Ok((vec![b'x'; 20_000], Some(bytes.len()))));
        }
    }

    /// Parts of a chunked body, mostly in a sensible order.
    fn chunked_bytes() -> impl Strategy<Value = Vec<u8>> {
        let part = prop::sample::select(vec![
            "3\r\nabc\r\n",
            "3\r\nabc\r\n",
            "0\r\n\r\n",
            "0a;x=y\r\n0123456789\r\n",
            "1 ;\r\n\n\r\n",
            "5\r\nabc\r\n",
            "0\r\n",
            "A: b\r\n",
            "\r\n",
            "\n",
            "ffffffffffffffff\r\n",
            "7f\r\n",
            " ",
            "G",
            "\0",
        ]);
        prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_data_and_verdict(
            bytes in prop_oneof![chunked_bytes(), prop::collection::vec(any::<u8>(), 0..40)],
            cuts in prop::collection::vec(0usize..9, 0..30),
        ) {
            let whole = decode(&bytes, &[], 100);
            prop_assert_eq!(&decode(&bytes, &cuts, 100), &whole);
            prop_assert_eq!(&decode(&bytes, &vec![1; bytes.len()], 100), &whole);
        }

        #[test]
        fn what_the_encoder_writes_is_read_back(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..9)) {
            let mut bytes = Vec::new();
            chunks.iter().for_each(|chunk| super::super::encode::put_chunk(&mut bytes, chunk));
            super::super::encode::put_last_chunk(&mut bytes, &[("X-Sum", "1")]).unwrap();
            prop_assert_eq!(decode(&bytes, &[], 10_000), Ok((chunks.concat(), Some(bytes.len()))));
        }
    }
}
