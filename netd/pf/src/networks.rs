//! Ranges as the fewest networks.

use std::net::Ipv4Addr;

use warder_desired::Ranges;
use warder_wire::Cidr;

/// The fewest networks that are `ranges`, rising. pf's tables hold networks, no ranges (pf.conf(5), GRAMMAR: `tableaddr`).
#[must_use]
pub fn networks(ranges: &Ranges) -> Vec<Cidr> {
    let mut all = Vec::new();
    for range in ranges.as_slice() {
        let (mut first, last) = (
            u64::from(range.first.to_bits()),
            u64::from(range.last.to_bits()),
        );
        while first <= last {
            // The largest that begins here and does not go past the end.
            let aligned = first.trailing_zeros().min(32);
            let fits = (last - first + 1).ilog2();
            let host = aligned.min(fits);
            let address = u32::try_from(first).unwrap_or(u32::MAX);
            let bits = u8::try_from(32 - host).unwrap_or(32);
            all.extend(Cidr::new(Ipv4Addr::from(address), bits));
            first += 1 << host;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use warder_desired::Range;

    use super::*;

    proptest! {
        #[test]
        fn they_are_the_same_and_as_few_as_can_be(pairs in proptest::collection::vec(any::<(u32, u32)>(), 0..8)) {
            let of = |(a, b): (u32, u32)| Range::new(a.into(), b.into());
            let ranges: Ranges = pairs.into_iter().map(of).collect();
            let all = networks(&ranges);
            let again: Ranges = all.iter().map(|c| Range::from(*c)).collect();
            prop_assert_eq!(again, ranges);
            // Two neighbours of one length whose union is a network would be one too many.
            for pair in all.windows(2) {
                let joined = Cidr::new(pair[0].range().0, pair[0].bits().saturating_sub(1));
                let whole = joined.map(Cidr::range) == Some((pair[0].range().0, pair[1].range().1));
                prop_assert!(!(whole && pair[0].bits() == pair[1].bits()), "{} {}", pair[0], pair[1]);
            }
        }
    }

    #[test]
    fn everything_is_one_network() {
        let all: Ranges = [Range::from(Cidr::ALL)].into_iter().collect();
        assert_eq!(networks(&all), [Cidr::ALL]);
    }
}
