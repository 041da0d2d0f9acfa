//! Sans-io anti-entropy: brokers exchange just what the other lacks, on any link, in any order of failure.
