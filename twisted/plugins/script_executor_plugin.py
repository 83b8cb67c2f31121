from twisted.application.service import ServiceMaker

script_executor = ServiceMaker(
    "script-executor",
    "twisted_executor.tap",
    "Runs untrusted scripts in warm, hardened Docker containers.",
    "script-executor",
)
