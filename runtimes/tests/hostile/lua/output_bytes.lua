-- expect: bad-output
return function()
  return '\xff\xfe'
end
