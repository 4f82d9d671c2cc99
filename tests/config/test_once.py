"""Messages that every job of a sweep would repeat are logged once per process."""

import logging

from unlearn_lab.config.once import OncePerProcess, warn_once


def test_equal_messages_of_a_logger_pass_once(caplog):
    logger = logging.getLogger("once.a")
    logger.addFilter(OncePerProcess())
    for number in (1, 1, 2):
        logger.warning("number %d", number)
    assert caplog.messages == ["number 1", "number 2"]


def test_loggers_below_one_warn_once_through_its_handlers(capsys):
    logger = logging.getLogger("once.b")
    logger.addHandler(handler := logging.StreamHandler())
    logger.propagate = False
    warn_once(logger)
    warn_once(logger)
    assert len(handler.filters) == 1
    for name in ("once.b.c", "once.b.c", "once.b.d"):
        logging.getLogger(name).warning("the same")
    other = logging.getLogger("once.other")
    other.addHandler(handler)
    for _ in range(2):
        other.warning("of another")
    other.removeHandler(handler)
    assert capsys.readouterr().err == "the same\nthe same\nof another\nof another\n"
