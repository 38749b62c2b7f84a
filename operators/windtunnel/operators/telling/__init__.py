"""What people and other systems are told of a stage: links, lineage, alerts."""
