-- expect: thrown
return function()
  return getfenv(0)
end
