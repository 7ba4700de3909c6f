"""The example clock behind wsgiref's validator. Served from the examples' folder, where `clock` is found."""

from wsgiref.validate import validator

import clock

application = validator(clock.application)
