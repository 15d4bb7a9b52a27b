//! Sets of IPv4 addresses as ranges.

use std::net::Ipv4Addr;

use warder_wire::Cidr;

/// First and last address, the first not behind the last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    /// The first.
    pub first: Ipv4Addr,
    /// The last.
    pub last: Ipv4Addr,
}

impl Range {
    /// From one to the other, whichever comes first.
    #[must_use]
    pub const fn new(a: Ipv4Addr, b: Ipv4Addr) -> Self {
        if a.to_bits() <= b.to_bits() {
            Self { first: a, last: b }
        } else {
            Self { first: b, last: a }
        }
    }
}

impl From<Cidr> for Range {
    fn from(cidr: Cidr) -> Self {
        let (first, last) = cidr.range();
        Self { first, last }
    }
}

/// Ranges that rise and neither touch nor overlap.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ranges(Vec<Range>);

impl Ranges {
    /// In rising order.
    #[must_use]
    pub fn as_slice(&self) -> &[Range] {
        &self.0
    }

    /// Whether there is no address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `address` is one of them.
    #[must_use]
    pub fn contain(&self, address: Ipv4Addr) -> bool {
        let after = self.0.partition_point(|range| range.first <= address);
        after > 0 && address <= self.0[after - 1].last
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut holes = other.0.iter().peekable();
        for range in &self.0 {
            let (mut first, last) = (u64::from(range.first.to_bits()), range.last.to_bits());
            while holes.next_if(|hole| hole.last < range.first).is_some() {}
            let mut ahead = holes.clone();
            while let Some(hole) = ahead.next_if(|hole| hole.first <= range.last) {
                let begins = hole.first.to_bits();
                if first < u64::from(begins) {
                    left.push(between(first, begins - 1));
                }
                first = u64::from(hole.last.to_bits()) + 1;
            }
            if first <= u64::from(last) {
                left.push(between(first, last));
            }
        }
        Self(left)
    }
}

/// `first` is an address: no larger than `last`.
fn between(first: u64, last: u32) -> Range {
    let first = u32::try_from(first).unwrap_or(u32::MAX);
    Range {
        first: first.into(),
        last: last.into(),
    }
}

impl FromIterator<Range> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Self {
        let mut all: Vec<Range> = ranges.into_iter().collect();
        all.sort_unstable_by_key(|range| range.first);
        let mut merged: Vec<Range> = Vec::with_capacity(all.len());
        for range in all {
            match merged.last_mut() {
                Some(before)
                    if range.first.to_bits() <= before.last.to_bits().saturating_add(1) =>
                {
                    before.last = before.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        Self(merged)
    }
}
