//! What the kernel says in text, taken apart; pure.

/// The pairs of `a=1,b=2`, as rctl_get_racct(2) answers them; what is no pair is left out.
pub fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',')
        .filter_map(|pair| pair.trim().split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_taken_apart() {
        let said = "cputime=12,datasize=0,memoryuse=4096,maxproc=3,pcpu=0,wallclock=77";
        let found: Vec<_> = pairs(said).collect();
        assert_eq!(found.len(), 6);
        assert!(found.contains(&("memoryuse", "4096")));
        assert_eq!(pairs("").count(), 0);
    }
}
