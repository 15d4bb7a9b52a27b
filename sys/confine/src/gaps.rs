//! Numbers between numbers.

use std::os::fd::RawFd;

/// The ranges between the sorted `list`, each with both ends inclusive.
pub(crate) fn gaps(list: &[RawFd]) -> Vec<(u32, u32)> {
    let mut ranges = Vec::new();
    let mut next = 0_u32;
    for fd in list.iter().filter_map(|&fd| u32::try_from(fd).ok()) {
        if fd > next {
            ranges.push((next, fd - 1));
        }
        next = fd + 1;
    }
    ranges.push((next, u32::MAX));
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_leave_the_list_and_nothing_else() {
        assert_eq!(gaps(&[0, 1, 2]), [(3, u32::MAX)]);
        assert_eq!(gaps(&[0, 1, 2, 3, 7]), [(4, 6), (8, u32::MAX)]);
        assert_eq!(gaps(&[0, 1, 2, 5, 6]), [(3, 4), (7, u32::MAX)]);
    }
}
