//! Vector clocks, dots, knowledge with exceptions and hybrid logical clocks for replicas that part and meet again.
