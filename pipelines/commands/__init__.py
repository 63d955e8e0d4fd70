"""What the sub-commands of `som` do, a module for each family of them."""
