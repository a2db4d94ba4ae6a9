"""outlive for GPUs: stored arrays whose memory is registered with CUDA, so that they are copied to a GPU at full speed.

Needs NVIDIA's driver, and no package. See docs/howto/gpu.md.

    registering: whose memory it is, and when it ends
        |
    driver: NVIDIA's driver library
"""

from outlive.gpu.registering import PagesCopied, register

__all__ = ["PagesCopied", "register"]
