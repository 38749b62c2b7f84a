"""What a team writes and what stages hand each other: the problem, its windows, settings, references, errors."""
