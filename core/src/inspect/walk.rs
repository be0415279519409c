//! One pass over every byte of a log.

use std::collections::BTreeMap;

use super::{ALIGN, Entries, Frame, Log, Place, Record, Segment, SegmentHeader, frame};
use crate::codec::Corrupt;
use crate::disk::{DiskImage, FileName};
use crate::types::Identity;

struct Walk<'a> {
    log: &'a mut Log,
    disk: &'a dyn DiskImage,
    identity: Identity,
    seed: u32,
    each: &'a mut dyn FnMut(&Frame),
    /// The frames still follow each other.
    follows: bool,
}

/// Fills in the segments, the groups and the end of `log`, whose identity is known.
pub fn walk(
    log: &mut Log,
    disk: &dyn DiskImage,
    sizes: &BTreeMap<u64, u64>,
    seed: u32,
    each: &mut dyn FnMut(&Frame),
) {
    let Some(identity) = log.identity.clone() else { return };
    let mut walk = Walk { log, disk, identity, seed, each, follows: true };
    for (&number, &size) in sizes {
        let segment = walk.segment(number, size);
        walk.log.segments.push(segment);
    }
    walk.log.groups.values_mut().for_each(super::Group::finish);
}

/// What there is to say of a segment when nobody knows whose log it is.
pub fn unread(disk: &dyn DiskImage, number: u64, size: u64) -> Segment {
    let start = disk.read(FileName::Segment(number), 0, 4096);
    let header = match start.as_deref().map(SegmentHeader::decode) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(Corrupt(what))) => Err(what),
        Err(failed) => Err(failed.reason.clone()),
    };
    Segment { header, ..empty(number, size) }
}

fn empty(number: u64, size: u64) -> Segment {
    Segment {
        number,
        size,
        header: Ok(()),
        used: 0,
        tail: 0,
        frames: 0,
        gaps: Vec::new(),
        entries: BTreeMap::new(),
    }
}

impl Walk<'_> {
    fn segment(&mut self, number: u64, size: u64) -> Segment {
        let mut segment = empty(number, size);
        let file = FileName::Segment(number);
        let bytes = usize::try_from(size.min(self.log.segment_bytes)).unwrap_or(usize::MAX);
        let bytes = match self.disk.read(file, 0, bytes) {
            Ok(bytes) => bytes,
            Err(failed) => {
                segment.header = Err(failed.reason);
                self.end(number, 0);
                return segment;
            }
        };
        let first = self.first_frame(number, &bytes);
        let mut at = *first.as_ref().unwrap_or(&0);
        segment.used = offset64(at);
        segment.header = first.map(drop);
        let content = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        while at < content {
            let base = number * self.log.segment_bytes;
            if let Some(frame) = frame::decode(&bytes, self.seed, base, at) {
                self.frame(&mut segment, at, frame);
                at = usize::try_from(segment.used).unwrap_or(usize::MAX);
                continue;
            }
            let later = (at + ALIGN..content).step_by(ALIGN);
            let mut later =
                later.filter(|&at| frame::decode(&bytes, self.seed, base, at).is_some());
            let Some(next) = later.next() else { break };
            self.end(number, offset64(at));
            segment.gaps.push(offset64(at)..offset64(next));
            at = next;
        }
        segment.tail = offset64(content).saturating_sub(segment.used);
        let place = number * self.log.segment_bytes + segment.used;
        if segment.tail > 0 || segment.header.is_err() || self.begins(number + 1) != Some(place) {
            self.end(number, segment.used);
        }
        segment
    }

    /// Where the first frame is, or what is wrong with what stands before it.
    fn first_frame(&self, number: u64, bytes: &[u8]) -> Result<usize, String> {
        match SegmentHeader::decode(bytes) {
            Ok((header, first)) if header.number == number && header.identity == self.identity => {
                Ok(first)
            }
            Ok(_) => Err("it is another segment's, or another log's".to_owned()),
            Err(Corrupt(what)) => Err(what),
        }
    }

    fn frame(&mut self, segment: &mut Segment, at: usize, frame: frame::Frame) {
        let (byte, end) = (offset64(at), offset64(frame.end));
        let place = Place { file: FileName::Segment(segment.number), byte };
        let offset = segment.number * self.log.segment_bytes + byte;
        let frame::Frame { record, attested, .. } = frame;
        let follows = self.follows;
        let frame = Frame { place, offset, bytes: end - byte, attested, follows, record };
        segment.frames += 1;
        segment.used = end;
        if let Some(Record::Entry(group, entry)) = &frame.record {
            let index = entry.position.index;
            let none = Entries { first: index, last: index, ..Entries::default() };
            let entries = segment.entries.entry(*group).or_insert(none);
            entries.count += 1;
            entries.bytes += frame.bytes;
            entries.first = entries.first.min(index);
            entries.last = entries.last.max(index);
        }
        if let (true, Some(group), Some(record)) = (follows, frame.group(), &frame.record) {
            self.log.groups.entry(group).or_default().take(record);
        }
        (self.each)(&frame);
    }

    /// The frames that follow each other end here, if they have not ended before.
    fn end(&mut self, number: u64, byte: u64) {
        if self.follows {
            self.follows = false;
            self.log.end = Some(Place { file: FileName::Segment(number), byte });
        }
    }

    /// Where the segment before `number` ended, if `number` has begun.
    fn begins(&self, number: u64) -> Option<u64> {
        let start = self.disk.read(FileName::Segment(number), 0, 4096).ok()?;
        let first = self.first_frame(number, &start).ok()?;
        let frame = frame::decode(&start, self.seed, number * self.log.segment_bytes, first)?;
        match frame.record {
            Some(Record::Begin(previous)) => Some(previous),
            _ => None,
        }
    }
}

fn offset64(offset: usize) -> u64 {
    u64::try_from(offset).expect("usize_fits_u64: there is no wider machine")
}
