//! A broker for networks that part and meet again: jobs redeployed when executors vanish, one canonical result everywhere.
