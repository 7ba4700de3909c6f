//! FastCGI: records both ways, of one request at a time.
//!
//! ```text
//! version (1)  kind (1)  id (2, big endian)  size of the content (2, big endian)  size of the padding (1)  0
//! in:   BEGIN  PARAMS...  PARAMS of no bytes  STDIN...  STDIN of no bytes
//! out:  STDOUT...  END
//! ```

use std::mem;
use std::ops::Range;

use super::{Pairs, told_apart};
use crate::error::RequestFault;

const HEADER_SIZE: usize = 8;
const VERSION: u8 = 1;

const BEGIN: u8 = 1;
const ABORT: u8 = 2;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;

/// The role of an application that answers requests; no other is played.
const RESPONDER: [u8; 2] = [0, 1];
const KEEP_CONNECTION: u8 = 1;

/// The content of a record that begins a request: role, flags, and bytes for later.
const BEGIN_SIZE: usize = 8;

/// Most bytes of a response in a record: all that fit, as a multiple of eight.
const CONTENT_MAX: usize = 65_528;

/// How far a request is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Begin,
    Variables,
    /// Variables are whole; the head is given out when the first record of the body is seen.
    Body,
    /// Nothing more belongs to the request.
    Whole,
}

/// Takes records apart: a request's variables are kept here, its body is given on.
#[derive(Debug, Default)]
pub(crate) struct Records {
    stage: Stage,
    id: u16,
    pub(crate) keeps_connection: bool,
    header: Vec<u8>,
    kind: u8,
    content: usize,
    padding: usize,
    begin: Vec<u8>,
    variables: Vec<u8>,
    variables_max: usize,
    /// Whether the request has a body, as its first record of one says.
    has_body: Option<bool>,
    /// What has come after the request.
    next: Vec<u8>,
    fault: Option<RequestFault>,
}

impl Records {
    pub(crate) fn new(variables_max: usize) -> Self {
        Self { variables_max, ..Self::default() }
    }

    /// Takes in what the peer has sent; `body` is given what of it is the body's.
    pub(crate) fn receive(&mut self, mut data: &[u8], mut body: impl FnMut(&[u8])) {
        while !data.is_empty() && self.fault.is_none() {
            if self.stage == Stage::Whole && self.padding == 0 {
                self.next.extend_from_slice(data);
                return;
            }
            if self.content > 0 {
                let (content, rest) = data.split_at(self.content.min(data.len()));
                self.content -= content.len();
                data = rest;
                self.take(content, &mut body);
            } else if self.padding > 0 {
                let skipped = self.padding.min(data.len());
                self.padding -= skipped;
                data = &data[skipped..];
            } else {
                let (part, rest) = data.split_at((HEADER_SIZE - self.header.len()).min(data.len()));
                self.header.extend_from_slice(part);
                data = rest;
                if self.header[0] != VERSION {
                    self.fault = Some(told_apart(&self.header, RequestFault::Variables));
                } else if self.header.len() == HEADER_SIZE {
                    self.fault = self.begin_record().err();
                }
            }
        }
    }

    fn begin_record(&mut self) -> Result<(), RequestFault> {
        let header = mem::take(&mut self.header);
        let [VERSION, kind, id_high, id_low, high, low, padding, _] = header[..] else {
            return Err(RequestFault::Variables);
        };
        let id = u16::from_be_bytes([id_high, id_low]);
        self.content = usize::from(u16::from_be_bytes([high, low]));
        self.padding = usize::from(padding);
        self.kind = kind;
        match (self.stage, kind) {
            (Stage::Begin, BEGIN) if id != 0 && self.content == BEGIN_SIZE => self.id = id,
            // One request at a time, and no questions (FCGI_GET_VALUES): what is here needs no asking.
            _ if id != self.id || id == 0 => return Err(RequestFault::Variables),
            (Stage::Variables, PARAMS) if self.content == 0 => self.stage = Stage::Body,
            (Stage::Variables, PARAMS) => {}
            (Stage::Body, STDIN) => {
                self.has_body.get_or_insert(self.content > 0);
                if self.content == 0 {
                    self.stage = Stage::Whole;
                }
            }
            (Stage::Variables | Stage::Body, ABORT) => return Err(RequestFault::Truncated),
            _ => return Err(RequestFault::Variables),
        }
        Ok(())
    }

    fn take(&mut self, content: &[u8], body: &mut impl FnMut(&[u8])) {
        match self.kind {
            BEGIN => {
                self.begin.extend_from_slice(content);
                if let [high, low, flags, _, _, _, _, _] = self.begin[..] {
                    self.keeps_connection = flags & KEEP_CONNECTION != 0;
                    self.fault = ([high, low] != RESPONDER).then_some(RequestFault::Variables);
                    self.stage = Stage::Variables;
                }
            }
            PARAMS if self.variables.len() + content.len() > self.variables_max => {
                self.fault = Some(RequestFault::HeadTooLarge);
            }
            PARAMS => self.variables.extend_from_slice(content),
            _ => body(content),
        }
    }

    /// Whether a part of a request is in.
    pub(crate) fn has_begun(&self) -> bool {
        self.stage != Stage::Begin || !self.header.is_empty() || self.content > 0
    }

    /// Bytes that are kept for a head.
    pub(crate) fn held(&self) -> usize {
        self.header.len() + self.begin.len() + self.variables.len() + self.next.len()
    }

    /// Gives out the variables of a request once they are whole, and whether a body follows.
    pub(crate) fn variables(&mut self) -> Result<Option<(Vec<u8>, bool)>, RequestFault> {
        match (self.has_body, self.fault) {
            (Some(has_body), _) => Ok(Some((mem::take(&mut self.variables), has_body))),
            (None, Some(fault)) => Err(fault),
            (None, None) => Ok(None),
        }
    }

    /// Whether the end of the body has come, if nothing was wrong with its records.
    pub(crate) fn body_is_whole(&self) -> Result<bool, RequestFault> {
        self.fault.map_or(Ok(self.stage == Stage::Whole), Err)
    }

    /// On to the next request. Gives what has come of it.
    pub(crate) fn start_next(&mut self) -> Vec<u8> {
        mem::replace(self, Self::new(self.variables_max)).next
    }

    /// Nothing more is taken in.
    pub(crate) fn discard(&mut self) {
        *self = Self { id: self.id, stage: Stage::Whole, ..Self::new(0) };
    }

    /// In what the response goes.
    pub(crate) fn response(&self) -> ResponseRecords {
        ResponseRecords { id: self.id }
    }
}

/// The records in which a response goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseRecords {
    id: u16,
}

impl ResponseRecords {
    /// Writes what comes before the next bytes of a response of which so many are left, and says how many go into the record.
    pub fn begin(self, left: u64, out: &mut Vec<u8>) -> usize {
        let size = usize::try_from(left).unwrap_or(CONTENT_MAX).min(CONTENT_MAX);
        // A record of no bytes would be the end of them.
        if size > 0 {
            self.write(STDOUT, size, out);
        }
        size
    }

    /// Puts what stands in `out` from `start` on into records.
    pub(crate) fn wrap(self, start: usize, out: &mut Vec<u8>) {
        let bytes = out.split_off(start);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (content, after) = rest.split_at(self.begin(rest.len() as u64, out));
            out.extend_from_slice(content);
            rest = after;
        }
    }

    /// Writes the end of a response. Both statuses are 0: it was answered, and completely.
    pub(crate) fn write_end(self, out: &mut Vec<u8>) {
        self.write(STDOUT, 0, out);
        self.write(END, 8, out);
        out.extend_from_slice(&[0; 8]);
    }

    fn write(self, kind: u8, size: usize, out: &mut Vec<u8>) {
        let (id, size) = (self.id.to_be_bytes(), (size as u16).to_be_bytes());
        out.extend_from_slice(&[VERSION, kind, id[0], id[1], size[0], size[1], 0, 0]);
    }
}

/// Finds the variables: the sizes of name and value, each in a byte or in four with the first bit set, come before both.
pub(super) fn list(bytes: &[u8], pairs: &mut Pairs) -> Result<(), RequestFault> {
    let mut at = 0;
    while at < bytes.len() {
        let (name, value) = pair(bytes, at).ok_or(RequestFault::Variables)?;
        at = value.end;
        pairs.push(name, value)?;
    }
    Ok(())
}

fn pair(bytes: &[u8], at: usize) -> Option<(Range<usize>, Range<usize>)> {
    let (name_size, at) = size(bytes, at)?;
    let (value_size, name_start) = size(bytes, at)?;
    let value_start = name_start + name_size;
    let end = value_start + value_size;
    (end <= bytes.len()).then_some((name_start..value_start, value_start..end))
}

fn size(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    match *bytes.get(at..)? {
        [short @ 0..0x80, ..] => Some((usize::from(short), at + 1)),
        [first, second, third, fourth, ..] => {
            let size = u32::from_be_bytes([first & 0x7f, second, third, fourth]);
            Some((size as usize, at + 4))
        }
        _ => None,
    }
}
