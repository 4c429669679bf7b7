//! AWS partitions: the prefix of their ARNs and the suffix of their host names.
//!
//! Source: the `partitions.json` that AWS SDKs ship (regionRegex, dnsSuffix), as of 2026.

/// What a region's partition decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// The second field of every ARN.
    pub id: &'static str,
    /// What follows `s3.<region>.` in a bucket's host name.
    pub dns_suffix: &'static str,
}

/// Region prefixes, the longer before the shorter where one begins with the other.
const BY_PREFIX: [(&str, Partition); 8] = [
    ("cn-", Partition { id: "aws-cn", dns_suffix: "amazonaws.com.cn" }),
    ("us-gov-", Partition { id: "aws-us-gov", dns_suffix: "amazonaws.com" }),
    ("us-isob-", Partition { id: "aws-iso-b", dns_suffix: "sc2s.sgov.gov" }),
    ("us-isof-", Partition { id: "aws-iso-f", dns_suffix: "csp.hci.ic.gov" }),
    ("us-iso-", Partition { id: "aws-iso", dns_suffix: "c2s.ic.gov" }),
    ("eu-isoe-", Partition { id: "aws-iso-e", dns_suffix: "cloud.adc-e.uk" }),
    ("eusc-", Partition { id: "aws-eusc", dns_suffix: "amazonaws.eu" }),
    ("", Partition { id: "aws", dns_suffix: "amazonaws.com" }),
];

impl Partition {
    /// The partition of a region. A region that no table knows is taken for a commercial one.
    pub fn of_region(region: &str) -> Self {
        let found = BY_PREFIX.iter().find(|(prefix, _)| region.starts_with(prefix));
        found.map_or(BY_PREFIX[BY_PREFIX.len() - 1].1, |(_, partition)| *partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_its_own_names() {
        for (region, id, suffix) in [
            ("eu-west-1", "aws", "amazonaws.com"),
            ("us-east-1", "aws", "amazonaws.com"),
            ("cn-northwest-1", "aws-cn", "amazonaws.com.cn"),
            ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
            ("us-iso-east-1", "aws-iso", "c2s.ic.gov"),
            ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
            ("us-isof-south-1", "aws-iso-f", "csp.hci.ic.gov"),
            ("eu-isoe-west-1", "aws-iso-e", "cloud.adc-e.uk"),
            ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
        ] {
            assert_eq!(Partition::of_region(region), Partition { id, dns_suffix: suffix }, "{region}");
        }
    }
}
