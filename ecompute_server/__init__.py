"""A reference server of the Compute API that runs each container as a libvirt VM."""
