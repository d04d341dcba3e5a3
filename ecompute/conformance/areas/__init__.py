"""The areas of the contract: in each module the requirements, and the checks that decide them."""
